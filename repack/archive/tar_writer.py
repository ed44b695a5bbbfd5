"""Writes tar archives as streams: the same members give the same bytes.

Members keep the caller's order and have a fixed time, owner and mode, in the pax format (POSIX
1003.1-2001), which conda's own tools write too. A header depends on name and size alone, so the size
of the archive is known before its first byte is written.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

from repack.archive.package import EPOCH
from repack.errors import IntegrityError
from repack.fs import beneath
from repack.fs.atomic import CHUNK, os_errors_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = tarfile.RECORDSIZE
_SHA384_HEX: Final = 96


class Sink(Protocol):
    """Anything that bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Write ``data``."""


def header(name: str, size: int, mtime: int = EPOCH, mode: int = 0o644) -> bytes:
    """The header of a plain file."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, mtime, mode
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def tar_size(rows: Iterable[tuple[str, int]]) -> int:
    """The size of the archive that holds files of these names and sizes."""
    size = 2 * _BLOCK + sum(len(header(name, size)) + _padded(size) for name, size in rows)
    return size + -size % _END


class TarWriter:
    """Writes a tar archive to a sink, and checks each file against its digest on the way."""

    def __init__(self, sink: Sink, advance: Callable[[int], None] = lambda _done: None) -> None:
        self._sink = sink
        self._advance = advance
        self._written = 0

    def add(
        self, name: str, size: int, content: bytes | str, digest: str, mode: int = 0o644
    ) -> None:
        """Add a file.

        Args:
            name: the path inside the archive.
            size: the bytes it has.
            content: the bytes, or the path of the file on disk.
            digest: SHA-256 or SHA-384 in hex, by its length.

        Raises:
            IntegrityError: size or digest differ from the content's.
            PlaceError: it cannot be read.
        """
        self._put(header(name, size, mode=mode))
        where = Path(content) if isinstance(content, str) else Path(name)
        with os_errors_at(where), _open(content) as stream:
            self._copy(stream, size, digest, where)
        self._put(bytes(-size % _BLOCK))

    def add_text(self, name: str, data: bytes, mtime: int = EPOCH, mode: int = 0o644) -> None:
        """Add a small file from memory."""
        self._put(header(name, len(data), mtime, mode) + data + bytes(-len(data) % _BLOCK))

    def close(self) -> None:
        """Write the end mark."""
        self._put(bytes(2 * _BLOCK))
        self._put(bytes(-self._written % _END))

    def _copy(self, stream: IO[bytes], size: int, digest: str, where: Path) -> None:
        hasher, left = hasher_for(digest), size
        # One byte more than is left, so that a file that has grown is noticed and not cut off.
        while data := stream.read(min(CHUNK, left + 1)):
            left -= len(data)
            if left < 0:
                break
            hasher.update(data)
            self._put(data)
            self._advance(len(data))
        if left or hasher.hexdigest() != digest:
            raise IntegrityError(
                "the file changed while it was packed",
                where=where,
                hint="pack again when nobody writes to it",
            )

    def _put(self, data: bytes) -> None:
        self._sink.write(data)
        self._written += len(data)


def hasher_for(digest: str) -> hashlib._Hash:
    """A new hash of the algorithm of ``digest``: SHA-256 or SHA-384, by its length in hex."""
    return hashlib.sha384() if len(digest) == _SHA384_HEX else hashlib.sha256()


def _open(content: bytes | str) -> IO[bytes]:
    return io.BytesIO(content) if isinstance(content, bytes) else beneath.reading(Path(content))


def _padded(size: int) -> int:
    return size + -size % _BLOCK
