"""Reads package archives, ``.conda`` and ``.tar.bz2``, without unpacking them.

Rule of this module: whatever is wrong with an archive comes out as an ``IntegrityError`` that names
it. Sources: CEP 35 (``.conda``: a zip of ``metadata.json`` and two ``.tar.zst``), PKWARE's
APPNOTE 6.3 for the zip's local headers.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import json
import struct
import sys
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Final, Protocol

from repack.archive.facts import Facts
from repack.archive.scan import ArchiveScan
from repack.archive.tar_reader import TarReader
from repack.errors import IntegrityError, PlaceError
from repack.fs.atomic import os_errors_at, read, write_cached

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path
    from typing import Any

    from repack.archive.facts import Depth
    from repack.conda.record import Record


if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


_LIMIT: Final = 1 << 34  # bytes of tar to look through
_LIMIT_OF_LIST: Final = 256 << 20
_PATHS: Final = "info/paths.json"


# Bytes read from an archive, and bytes decompressed, at once. What fits the processor's own cache
# is a quarter faster than 1 MiB.
_COMPRESSED: Final = 128 << 10
_PLAIN: Final = 128 << 10
_FACTS_LIMIT: Final = 16 << 20  # bytes of a file of facts
_LOCAL_HEADER: Final = 30
_DESCRIPTOR: Final = 24  # bytes a zip may have behind a member, at most
# What the readers of zip and zstd raise on bad data; for zip documented nowhere, found by fuzzing.
DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,  # of an unknown compression
    OverflowError,
    RuntimeError,  # of an encrypted member
    ValueError,
    zstd.ZstdError,
)


class _Decompressor(Protocol):
    """What ``bz2`` and ``zstd`` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def scan_archive(path: Path, record: Record, depth: Depth) -> Facts:
    """Read an archive as deep as ``depth``.

    Args:
        path: where the archive is, under any name.
        record: the package it should be; names it in errors.
        depth: ``info`` reads the description inside, and the payload only for link scripts;
            ``whole`` reads and checks all of it.

    Raises:
        IntegrityError: the archive is cut off, damaged, hostile, or no conda package.
        PlaceError: it cannot be read.
    """
    with _blamed_on(record), os_errors_at(path), path.open("rb") as stream:
        notes = ArchiveScan(path.stat().st_size)
        with contextlib.closing(open_tar_streams(stream, record.fn)) as streams:
            for chunks in streams:
                _walk(chunks, notes, depth)
                if depth == "info" and notes.described():
                    break
        return notes.facts(depth)


def read_facts(cache: Path) -> Facts | None:
    """The facts that were kept in a file; None when there are none, or none that are whole."""
    try:
        return Facts.of_json(json.loads(read(cache, _FACTS_LIMIT)))
    except (PlaceError, IntegrityError, ValueError, RecursionError):
        return None


def write_facts(cache: Path, facts: Facts) -> None:
    """Keep facts. Raises as :func:`repack.fs.atomic.write` does."""
    write_cached(cache, json.dumps(facts.to_json()).encode("ascii"))


def _walk(chunks: Iterator[bytes], notes: ArchiveScan, depth: Depth) -> None:
    """Show all members of one tar stream to the survey, or as many as it takes."""
    tar = TarReader(chunks, notes.unpacked_limit())
    for member in tar:
        if depth == "info" and not member.name.startswith("info/") and notes.described():
            return
        if wanted := notes.see(member):
            notes.keep(member, tar.read(wanted))
            tar.limit = notes.unpacked_limit()
    tar.finish()


@contextlib.contextmanager
def _blamed_on(record: Record) -> Iterator[None]:
    try:
        yield
    except IntegrityError as fault:
        raise IntegrityError(
            fault.what,
            where=record.path,
            expected=fault.expected,
            got=fault.got,
            hint=fault.hint or "ask whoever runs the upstream channel for a sound archive",
        ) from fault


def open_tar_streams(stream: IO[bytes], fn: str) -> Generator[Iterator[bytes]]:
    """The tar streams of the package ``fn``, decompressed, the description first.

    Raises:
        IntegrityError: the archive is cut off, damaged, or no conda package.
    """
    if fn.endswith(".conda"):
        return _conda_parts(stream, fn.removesuffix(".conda"))
    return _bz2_part(stream)


def _bz2_part(stream: IO[bytes]) -> Generator[Iterator[bytes]]:
    yield _decompressed(stream.read, bz2.BZ2Decompressor)


def _conda_parts(stream: IO[bytes], dist: str) -> Generator[Iterator[bytes]]:
    """The two tar streams of a ``.conda``, the description first."""
    with contextlib.ExitStack() as closing:
        with _zip_faults():
            archive = closing.enter_context(zipfile.ZipFile(stream))
            _check_layout(archive, stream)
            parts = [f"{part}-{dist}.tar.zst" for part in ("info", "pkg")]
            names = archive.namelist()
            for name in ("metadata.json", *parts):
                if names.count(name) != 1:
                    raise IntegrityError("archive is no .conda package", expected=f"one {name}")
            _check_format(archive.open("metadata.json").read(_COMPRESSED))
        for name in parts:
            with _zip_faults():
                member = closing.enter_context(archive.open(name))
            yield _decompressed(member.read, zstd.ZstdDecompressor)


def _check_format(data: bytes) -> None:
    """Check ``metadata.json`` (CEP 35): the only version there is, is 2."""
    try:
        version = json.loads(data)["conda_pkg_format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise IntegrityError("metadata.json of the .conda is broken") from fault
    if version != 2:
        raise IntegrityError("unknown version of the .conda format", expected=2, got=version)


def _check_layout(archive: zipfile.ZipFile, stream: IO[bytes]) -> None:
    """See to it that a reader of the zip's directory and one of its headers find the same.

    conda reads the directory at the end, rattler the headers from the start.
    """
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        gap = info.header_offset - end
        stream.seek(info.header_offset)
        header = stream.read(_LOCAL_HEADER)
        if not 0 <= gap <= (_DESCRIPTOR if end else 0) or len(header) < _LOCAL_HEADER:
            raise IntegrityError("data is hidden between the members of the .conda")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        end = info.header_offset + _LOCAL_HEADER + lengths + info.compress_size
    if not 0 <= archive.start_dir - end <= _DESCRIPTOR:
        raise IntegrityError("data is hidden between the members of the .conda")


@contextlib.contextmanager
def _zip_faults() -> Iterator[None]:
    """Turn what ``zipfile`` raises on a bad file into our error."""
    try:
        yield
    except DAMAGE as fault:
        raise IntegrityError("archive is damaged or cut off", got=fault) from fault
    except OSError as fault:
        if fault.errno != errno.EINVAL:  # a seek to before the start
            raise
        raise IntegrityError("archive is damaged or cut off") from fault


def _decompressed(
    read: Callable[[int], bytes], new: Callable[[], _Decompressor]
) -> Iterator[bytes]:
    """The decompressed stream in chunks; one or more compressed streams follow each other."""
    machine = new()
    data = b""
    while True:
        if machine.eof:
            data = machine.unused_data or _input(read)
            if not data:
                return
            machine = new()
        elif machine.needs_input:
            data = _input(read)
            if not data:
                raise IntegrityError("archive is cut off")
        else:
            data = b""
        try:
            chunk = machine.decompress(data, _PLAIN)
        except (OSError, *DAMAGE) as fault:
            raise IntegrityError("archive is damaged", got=fault) from fault
        if chunk:
            yield chunk


def _input(read: Callable[[int], bytes]) -> bytes:
    with _zip_faults():
        return read(_COMPRESSED)


def read_paths(path: Path, fn: str) -> list[dict[str, Any]]:
    """The rows of ``info/paths.json``; empty when the package ``fn`` has none.

    Raises:
        IntegrityError: the archive is damaged, or the list is.
        PlaceError: it cannot be read.
    """
    with (
        os_errors_at(path),
        path.open("rb") as stream,
        contextlib.closing(open_tar_streams(stream, fn)) as streams,
    ):
        for chunks in streams:
            tar = TarReader(chunks, _LIMIT)
            for member in tar:
                if member.name == _PATHS:
                    return _rows(tar.read_all(_LIMIT_OF_LIST), fn)
    return []


def _rows(data: bytes, fn: str) -> list[dict[str, Any]]:
    try:
        return [dict(row) for row in json.loads(data)["paths"]]
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise IntegrityError("the package's list of files is broken", where=fn) from fault
