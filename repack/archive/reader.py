"""Reads package archives, ``.conda`` and ``.tar.bz2``, without unpacking them.

Rule of this module: any fault of an archive is raised as an ``IntegrityError`` that names the
archive. Sources: CEP 35 (``.conda``: a zip of ``metadata.json`` and two ``.tar.zst``), PKWARE's
APPNOTE 6.3 for the zip's local headers.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import json
import struct
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Final, Protocol

from repack.archive.scan import ArchiveScan
from repack.archive.tar_reader import TarReader
from repack.codec import zstd
from repack.errors import IntegrityError
from repack.fs import beneath
from repack.fs.atomic import os_errors_at

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path
    from typing import Any

    from repack.archive.facts import Depth, Facts
    from repack.conda.record import Record


_TAR_LIMIT: Final = 1 << 34  # bytes of tar in which to look for a list of files
_LIST_LIMIT: Final = 256 << 20
_PATHS: Final = "info/paths.json"
# Bytes read from an archive at once, and bytes decompressed at once. Both fit the processor's cache,
# which is a quarter faster than 1 MiB.
_CHUNK: Final = 128 << 10
_LOCAL_HEADER: Final = 30
_DESCRIPTOR: Final = 24  # bytes a zip may have behind a member, at most
# What the readers of zip and zstd raise on bad data. For zip this is undocumented; fuzzing gave it.
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
    """Read an archive and conclude its facts.

    Args:
        path: the archive, under any file name.
        record: the package it should be; names it in errors.
        depth: ``info`` reads the description inside, and the payload only for link scripts;
            ``whole`` reads and checks every member.

    Raises:
        IntegrityError: the archive is cut off, damaged, hostile, or no conda package.
        PlaceError: it cannot be read.
    """
    with _errors_naming(record), os_errors_at(path), beneath.reading(path) as stream:
        scan = ArchiveScan(path.stat().st_size)
        with contextlib.closing(open_tar_streams(stream, record.fn)) as streams:
            for chunks in streams:
                _walk(chunks, scan, depth)
                if depth == "info" and scan.is_described():
                    break
        return scan.facts(depth)


def _walk(chunks: Iterator[bytes], scan: ArchiveScan, depth: Depth) -> None:
    """Feed the members of one tar stream to ``scan``, as far as ``depth`` needs."""
    tar = TarReader(chunks, scan.unpacked_limit())
    for member in tar:
        if depth == "info" and not member.name.startswith("info/") and scan.is_described():
            return
        if size := scan.add_member(member):
            scan.add_data(member, tar.read(size))
            # The list of files, once read, bounds the stream better than the size of the archive.
            tar.limit = scan.unpacked_limit()
    tar.finish()


@contextlib.contextmanager
def _errors_naming(record: Record) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise IntegrityError(
            error.what,
            where=record.path,
            expected=error.expected,
            got=error.got,
            hint=error.hint or "ask whoever runs the upstream channel for a sound archive",
        ) from error


def open_tar_streams(stream: IO[bytes], fn: str) -> Generator[Iterator[bytes]]:
    """Open the tar streams of the package ``fn``, decompressed, the description first.

    Raises:
        IntegrityError: the archive is cut off, damaged, or no conda package.
    """
    if not fn.endswith(".conda"):
        yield _decompress(stream.read, bz2.BZ2Decompressor)
        return
    dist = fn.removesuffix(".conda")
    with contextlib.ExitStack() as closing:
        with _zip_errors():
            archive = closing.enter_context(zipfile.ZipFile(stream))
            _check_layout(archive, stream)
            parts = [f"{part}-{dist}.tar.zst" for part in ("info", "pkg")]
            names = archive.namelist()
            for name in ("metadata.json", *parts):
                if names.count(name) != 1:
                    raise IntegrityError("archive is no .conda package", expected=f"one {name}")
            _check_format(archive.open("metadata.json").read(_CHUNK))
        for name in parts:
            with _zip_errors():
                member = closing.enter_context(archive.open(name))
            yield _decompress(member.read, zstd.ZstdDecompressor)


def _check_format(data: bytes) -> None:
    """Check ``metadata.json`` (CEP 35): version 2 is the only one."""
    try:
        version = json.loads(data)["conda_pkg_format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError("metadata.json of the .conda is broken") from error
    if version != 2:
        raise IntegrityError("unknown version of the .conda format", expected=2, got=version)


def _check_layout(archive: zipfile.ZipFile, stream: IO[bytes]) -> None:
    """Check that the zip's directory and its local headers describe the same members.

    conda reads the directory at the end, rattler the headers from the start: in a gap between the
    members that the directory names, rattler would see a member that conda does not.
    """
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        gap = info.header_offset - end
        stream.seek(info.header_offset)
        header = stream.read(_LOCAL_HEADER)  # APPNOTE 4.3.7
        if not 0 <= gap <= (_DESCRIPTOR if end else 0) or len(header) < _LOCAL_HEADER:
            raise IntegrityError("data is hidden between the members of the .conda")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        end = info.header_offset + _LOCAL_HEADER + lengths + info.compress_size
    if not 0 <= archive.start_dir - end <= _DESCRIPTOR:
        raise IntegrityError("data is hidden between the members of the .conda")


@contextlib.contextmanager
def _zip_errors() -> Iterator[None]:
    """Turn what ``zipfile`` raises on a bad file into an IntegrityError."""
    try:
        yield
    except DAMAGE as error:
        raise IntegrityError("archive is damaged or cut off", got=error) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to before the start
            raise
        raise IntegrityError("archive is damaged or cut off") from error


def _decompress(read: Callable[[int], bytes], new: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """Decompress a stream in chunks; it may be several compressed streams after each other."""
    decompressor = new()
    data = b""
    while True:
        if decompressor.eof:
            data = decompressor.unused_data or _read_chunk(read)
            if not data:
                return
            decompressor = new()
        elif decompressor.needs_input:
            data = _read_chunk(read)
            if not data:
                raise IntegrityError("archive is cut off")
        else:
            data = b""
        try:
            chunk = decompressor.decompress(data, _CHUNK)
        except (OSError, *DAMAGE) as error:
            raise IntegrityError("archive is damaged", got=error) from error
        if chunk:
            yield chunk


def _read_chunk(read: Callable[[int], bytes]) -> bytes:
    with _zip_errors():
        return read(_CHUNK)


def read_paths(path: Path, fn: str) -> list[dict[str, Any]]:
    """Read the rows of ``info/paths.json``; none when the package ``fn`` has no such file.

    Raises:
        IntegrityError: the archive is damaged, or the list is.
        PlaceError: it cannot be read.
    """
    with (
        os_errors_at(path),
        beneath.reading(path) as stream,
        contextlib.closing(open_tar_streams(stream, fn)) as streams,
    ):
        for chunks in streams:
            tar = TarReader(chunks, _TAR_LIMIT)
            for member in tar:
                if member.name == _PATHS:
                    return _parse_rows(tar.read_all(_LIST_LIMIT), fn)
    return []


def _parse_rows(data: bytes, fn: str) -> list[dict[str, Any]]:
    try:
        return [dict(row) for row in json.loads(data)["paths"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError("the package's list of files is broken", where=fn) from error
