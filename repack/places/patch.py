"""Makes patches of packages, and packages out of patches.

Rules of this module:

- A patch is only made if the package was made again from it, byte for byte, on the spot.
- Memory does not grow with the package: payloads lie decompressed in a scratch file, and a segment
  with what it may copy from fits zstd's window.
- Whoever makes a package from a patch gets its SHA-256, and believes nothing before it is right.
"""

from __future__ import annotations

import contextlib
import sys
import zipfile
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Final

from repack.errors import IntegrityError
from repack.model import patch as model
from repack.model.patch import FOOTER, MAGIC, WINDOW_LOG, Part, Patch, Segment
from repack.model.tar import Tar
from repack.places import archive, files, recompress

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Beyond this zstd presses ten times as long for a few percent.
_LEVEL: Final = 12
_LOCAL_HEADER: Final = 30
_LEAST_DICTIONARY: Final = 8  # zstd takes a shorter one for none
_HEAD: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Payload:
    """A package's tar streams, decompressed, one after the other in a scratch file.

    Attributes:
        spans: place and size of each stream, the description first.
    """

    path: Path
    spans: tuple[model.Span, ...]

    @property
    def size(self) -> int:
        """Bytes of all streams."""
        return sum(size for _, size in self.spans)

    def read(self, span: model.Span) -> bytes:
        """A stretch of it; not by a memory map, whose pages would count as ours."""
        start, size = span
        with files.faults_at(self.path), self.path.open("rb", buffering=0) as stream:
            stream.seek(start)
            return stream.read(size)

    def members(self, span: model.Span) -> list[tuple[str, model.Span]]:
        """The files of one stream and where they lie; those before damage, if it is damaged."""
        found: list[tuple[str, model.Span]] = []
        start, size = span
        tar = Tar(chunks(self.path, span), size)
        with contextlib.suppress(IntegrityError):
            found.extend(
                (member.name, (start + tar.position, member.size))
                for member in tar
                if member.kind == "file"
            )
        return found


def unpack(package: Path, fn: str, scratch: Path, limit: int) -> Payload:
    """Decompress a package into the file ``scratch``.

    Args:
        fn: the package's file name; its ending tells the format.
        limit: bytes there may be at most.

    Raises:
        IntegrityError: it is damaged, or unpacks to more.
        SpaceError: the disk is full.
    """
    spans, at = [], 0
    with (
        files.faults_at(package),
        package.open("rb") as stream,
        files.faults_at(scratch),
        scratch.open("wb") as out,
        contextlib.closing(archive.parts(stream, fn)) as streams,
    ):
        for pieces in streams:
            start = at
            for piece in pieces:
                at += len(piece)
                if at > limit:
                    raise IntegrityError(
                        "unpacks to more than it should", where=fn, expected=f"{limit} bytes"
                    )
                out.write(piece)
            spans.append((start, at - start))
    return Payload(scratch, tuple(spans))


def chunks(path: Path, span: model.Span) -> Iterator[bytes]:
    """A stretch of a file, in pieces."""
    start, left = span
    with files.faults_at(path), path.open("rb") as stream:
        stream.seek(start)
        while left > 0 and (piece := stream.read(min(files.CHUNK, left))):
            left -= len(piece)
            yield piece


@dataclass(frozen=True, slots=True)
class _Region:
    """A compressed stream inside a package."""

    start: int
    size: int
    span: model.Span


def make(package: Path, fn: str, base: Payload, own: Payload, out: IO[bytes]) -> Patch | None:
    """Write the patch that makes ``package`` out of ``base``; None where no recipe is found.

    Args:
        own: the package's own payload.

    Raises:
        SpaceError: the disk is full.
        PlaceError: a file cannot be read.
    """
    with files.faults_at(package), package.open("rb") as stream:
        regions = _regions(stream, fn, own)
        end = stream.seek(0, 2)
        if regions is None:
            return None
        known = {name: span for part in base.spans for name, span in base.members(part)}
        parts, at = [], 0
        for region in regions:
            parts.append(_as_it_is(stream, (at, region.start - at), out))
            part = _pressed(stream, region, own, (base, known), out)
            if part is None:
                return None
            parts.append(part)
            at = region.start + region.size
        parts.append(_as_it_is(stream, (at, end - at), out))
    found = Patch(tuple(part for part in parts if part.size))
    out.write(found.footer())
    return found


def _regions(stream: IO[bytes], fn: str, own: Payload) -> list[_Region] | None:
    if not fn.endswith(".conda"):
        return [_Region(0, stream.seek(0, 2), own.spans[0])]
    dist, found = fn.removesuffix(".conda"), []
    try:
        with zipfile.ZipFile(stream) as zipped:
            for part, span in zip(("info", "pkg"), own.spans, strict=True):
                info = zipped.getinfo(f"{part}-{dist}.tar.zst")
                if info.compress_type != zipfile.ZIP_STORED:
                    return None
                stream.seek(info.header_offset)
                head = stream.read(_LOCAL_HEADER)
                names = int.from_bytes(head[26:28], "little") + int.from_bytes(
                    head[28:30], "little"
                )
                start = info.header_offset + _LOCAL_HEADER + names
                found.append(_Region(start, info.file_size, span))
    except (*archive.DAMAGE, LookupError):
        return None
    return sorted(found, key=lambda region: region.start)


def _as_it_is(stream: IO[bytes], span: model.Span, out: IO[bytes]) -> Part:
    start, left = span
    stream.seek(start)
    while left and (piece := stream.read(min(files.CHUNK, left))):
        out.write(piece)
        left -= len(piece)
    return Part(span[1])


def _pressed(
    stream: IO[bytes],
    region: _Region,
    own: Payload,
    base: tuple[Payload, dict[str, model.Span]],
    out: IO[bytes],
) -> Part | None:
    """The stream's difference, when a recipe makes it again; a small one goes as it is if none."""

    def packed(count: int) -> bytes:
        if not count:
            stream.seek(region.start)
        return stream.read(min(count, region.start + region.size - stream.tell()))

    packed(0)
    size = region.span[1]
    recipe = recompress.find(packed(_HEAD), size, lambda: chunks(own.path, region.span), packed)
    if recipe is None:
        small = region.size * 8 < stream.seek(0, 2)
        return _as_it_is(stream, (region.start, region.size), out) if small else None
    old, known = base
    first = region.span[0]
    members = [(name, (place - first, n)) for name, (place, n) in own.members(region.span)]
    segments, at = [], first
    for segment in model.plan(size, old.size, members, known):
        piece = own.read((at, segment.size))
        data = _compress(piece, old.read((segment.start, segment.reach)))
        out.write(data)
        segments.append(replace(segment, data=len(data)))
        at += segment.size
    return Part(region.size, recipe, tuple(segments))


def _dictionary(content: bytes) -> zstd.ZstdDict | None:
    return zstd.ZstdDict(content, is_raw=True) if len(content) >= _LEAST_DICTIONARY else None


def _compress(piece: bytes, old: bytes) -> bytes:
    """What ``zstd --patch-from`` makes."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _LEVEL,
        zstd.CompressionParameter.window_log: WINDOW_LOG,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    known = _dictionary(old)
    machine = zstd.ZstdCompressor(options=options, zstd_dict=known.as_prefix if known else None)
    return machine.compress(piece, machine.FLUSH_FRAME)


def _decompress(data: bytes, old: bytes, size: int) -> bytes:
    known = _dictionary(old)
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
    machine = zstd.ZstdDecompressor(zstd_dict=known.as_prefix if known else None, options=options)
    try:
        piece = machine.decompress(data, size + 1)
    except (zstd.ZstdError, EOFError) as fault:
        raise IntegrityError("the patch is damaged, or its base is", got=fault) from fault
    if len(piece) != size or not machine.eof or machine.unused_data:
        raise IntegrityError("the patch is damaged", expected=f"{size} bytes", got=len(piece))
    return piece


def read_index(stream: IO[bytes], where: object) -> Patch:
    """Read a patch's index and leave ``stream`` at the beginning of its data.

    Raises:
        IntegrityError: there is none, or it does not fit the file.
    """
    end = stream.seek(0, 2)
    stream.seek(max(0, end - FOOTER))
    footer = stream.read(FOOTER)
    length = int.from_bytes(footer[:8])
    if footer[8:] != MAGIC or not 0 <= length <= min(model.MAX_INDEX, end - FOOTER):
        raise IntegrityError("no patch, or one that was cut off", where=where)
    stream.seek(end - FOOTER - length)
    found = model.parse(stream.read(length), where)
    held = sum(
        sum(segment.data for segment in part.segments) if part.recipe else part.size
        for part in found.parts
    )
    if held != end - FOOTER - length:
        raise IntegrityError("the patch does not fit its index", where=where)
    stream.seek(0)
    return found


def apply(patch: Path, base: Payload, out: IO[bytes]) -> None:
    """Write the package that ``patch`` makes out of ``base``; the caller checks its SHA-256.

    Raises:
        IntegrityError: the patch is damaged, or zstd here makes other bytes.
        SpaceError: the disk is full.
    """
    with files.faults_at(patch), patch.open("rb") as stream:
        for part in read_index(stream, patch).parts:
            if part.recipe is None:
                _as_it_is(stream, (stream.tell(), part.size), out)
                continue
            made, machine = 0, recompress.compressor(part.recipe, part.unpacked)
            for segment in part.segments:
                made += out.write(machine.compress(_piece(stream, segment, base)))
                if made > part.size:
                    break
            made += out.write(machine.flush())
            if made != part.size:
                raise IntegrityError(
                    "compressed again, the bytes are others", expected=part.size, got=made
                )


def _piece(stream: IO[bytes], segment: Segment, base: Payload) -> bytes:
    if segment.start + segment.reach > base.size:
        raise IntegrityError("the patch wants more of its base than there is")
    old = base.read((segment.start, segment.reach))
    return _decompress(stream.read(segment.data), old, segment.size)
