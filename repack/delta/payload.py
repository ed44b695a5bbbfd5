"""A package's payload: its tar streams decompressed into a scratch file, and what lies where in it."""

from __future__ import annotations

import bisect
import contextlib
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.archive import reader
from repack.archive.tar_reader import TarReader
from repack.errors import IntegrityError
from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from repack.delta.patch_format import Span


class Payload(Struct, frozen=True):
    """A package's tar streams, decompressed, one after the other in a scratch file.

    Attributes:
        spans: place and size of each stream, the description first.
        marks: pairs, rising: a place in the file, and about where in the package it lies.
    """

    path: Path
    spans: tuple[Span, ...]
    marks: tuple[tuple[int, int], ...] = ()

    @classmethod
    def raw(cls, package: Path) -> Payload:
        """The bytes of a package as it lies.

        Raises:
            PlaceError: it cannot be read.
        """
        with atomic.os_errors_at(package):
            return cls(package, ((0, package.stat().st_size),))

    @property
    def size(self) -> int:
        """Bytes of all streams."""
        return sum(size for _, size in self.spans)

    def read(self, span: Span) -> bytes:
        """A stretch of it; not by a memory map, whose pages would count as ours."""
        start, size = span
        with atomic.os_errors_at(self.path), beneath.reading(self.path, 0) as stream:
            stream.seek(start)
            data: bytes = stream.read(size)
            return data

    def members(self, span: Span) -> list[tuple[str, Span]]:
        """The files of one stream and where they lie; those before damage, if it is damaged."""
        files: list[tuple[str, Span]] = []
        start, size = span
        tar = TarReader(chunks(self.path, span), size)
        with contextlib.suppress(IntegrityError):
            files.extend(
                (member.name, (start + tar.position, member.size))
                for member in tar
                if member.kind == "file"
            )
        return files

    def spans_by_name(self) -> dict[str, Span]:
        """Where each file of all streams lies."""
        return {name: place for span in self.spans for name, place in self.members(span)}

    def packed(self, place: int) -> int:
        """About where in the package the byte at ``place`` lies."""
        return _at_mark(self.marks, place)

    def unpacked(self, place: int) -> int:
        """About which byte of the payload lies at ``place`` in the package."""
        return _at_mark(sorted((packed, unpacked) for unpacked, packed in self.marks), place)


def _at_mark(marks: Sequence[tuple[int, int]], place: int) -> int:
    """The second value of the first mark whose first is not below ``place``, else of the last one."""
    index = bisect.bisect_left(marks, (place, 0))
    return marks[min(index, len(marks) - 1)][1] if marks else 0


def unpack(package: Path, fn: str, scratch: Path, limit: int) -> Payload:
    """Decompress a package into the file ``scratch``.

    Args:
        fn: the package's file name; its ending tells the format.
        limit: bytes there may be at most.

    Raises:
        IntegrityError: it is damaged, or unpacks to more.
        SpaceError: the disk is full.
    """
    spans, marks, size = [], [(0, 0)], 0
    with (
        atomic.os_errors_at(package),
        beneath.reading(package) as stream,
        atomic.os_errors_at(scratch),
        beneath.writing(scratch) as out,
        contextlib.closing(reader.open_tar_streams(stream, fn)) as streams,
    ):
        for pieces in streams:
            start = size
            for piece in pieces:
                size += len(piece)
                if size > limit:
                    raise IntegrityError(
                        "unpacks to more than it should", where=fn, expected=f"{limit} bytes"
                    )
                out.write(piece)
                marks.append((size, stream.tell()))
            spans.append((start, size - start))
    return Payload(scratch, tuple(spans), tuple(marks))


def chunks(path: Path, span: Span) -> Iterator[bytes]:
    """A stretch of a file, in pieces."""
    start, left = span
    with atomic.os_errors_at(path), beneath.reading(path) as stream:
        stream.seek(start)
        while left > 0 and (piece := stream.read(min(atomic.CHUNK, left))):
            left -= len(piece)
            yield piece
