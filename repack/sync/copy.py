"""Bring files to a folder that may go away at any moment.

A copy that was cut off is continued: what is there is compared with the source on the way, so a
torn write costs only itself.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import IO, TYPE_CHECKING, Final, Protocol

from repack.errors import IntegrityError
from repack.fs import atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from repack.file_entry import FileEntry

_SLICE: Final = 0.25


class Transport(Protocol):
    """Brings packages into a stage."""

    name: str

    def bring(self, pieces: Sequence[FileEntry], stage: Path, done: Callable[[int], None]) -> None:
        """Copy ``pieces`` below ``stage``; what is wrong there is found by reading back."""


class RateLimit:
    """Holds a copy to ``rate`` bytes a second; None for no limit."""

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._began = time.monotonic()
        self._sent = 0

    @property
    def chunk(self) -> int:
        """How much to copy at once, so that even slow rates flow."""
        return atomic.CHUNK if self._rate is None else max(1, min(atomic.CHUNK, self._rate // 4))

    def spend(self, count: int) -> None:
        """Wait until ``count`` more bytes were due."""
        if self._rate is None:
            return
        now = time.monotonic()
        # Time in which nothing could be sent is not made up for by a burst.
        self._began = max(self._began, now - self._sent / self._rate - _SLICE)
        self._sent += count
        time.sleep(max(0.0, self._sent / self._rate - (now - self._began)))


class LocalCopy:
    """Our own way of copying.

    Args:
        source: path in the channel -> the file to copy.
        rate: bytes a second.
    """

    name = "own"

    def __init__(self, source: Callable[[str], Path], rate: int | None = None) -> None:
        self._source = source
        self._brake = RateLimit(rate)

    def bring(self, pieces: Sequence[FileEntry], stage: Path, done: Callable[[int], None]) -> None:
        """Copy ``pieces`` below ``stage``, hashed on the way.

        Raises:
            IntegrityError: a source is not what it should be.
            SpaceError: the disk is full; what was copied is kept for the next run.
            PlaceError: the folder went away, or cannot be written.
        """
        for piece in pieces:
            copy(self._source(piece.path), stage / piece.path, piece, self._brake, done)


def copy(
    source: Path, target: Path, piece: FileEntry, brake: RateLimit, done: Callable[[int], None]
) -> None:
    """Copy one file, going on where an earlier copy ended. Raises as :meth:`Copier.bring`."""
    with atomic.os_errors_at(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(target, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    with os.fdopen(handle, "r+b", buffering=0) as out:
        with atomic.os_errors_at(source):
            stream = source.open("rb", buffering=0)
        with stream:
            got = _pour(stream, out, (source, target), brake, done)
            moment = os.fstat(stream.fileno()).st_mtime_ns
    if got != (piece.sha256, piece.size):
        atomic.remove(target)
        raise IntegrityError(
            "the source is not what was released; the destination is as it was",
            where=source,
            expected=f"{piece.sha256}, {piece.size} bytes",
            got=f"{got[0]}, {got[1]} bytes",
            hint="build the label again, which repairs its channel",
        )
    with atomic.os_errors_at(target):
        os.utime(target, ns=(moment, moment))


def _pour(
    stream: IO[bytes],
    out: IO[bytes],
    names: tuple[Path, Path],
    brake: RateLimit,
    done: Callable[[int], None],
) -> tuple[str, int]:
    """Make ``out`` hold what ``stream`` does; only what differs is written."""
    (source, target), sha, size, same = names, hashlib.sha256(), 0, True
    while True:
        with atomic.os_errors_at(source):
            data = stream.read(brake.chunk)
        if not data:
            break
        sha.update(data)
        with atomic.os_errors_at(target):
            same = same and out.read(len(data)) == data
            if not same:
                out.seek(size)
                _write(out, data)
                brake.spend(len(data))
        size += len(data)
        done(len(data))
    with atomic.os_errors_at(target):
        if os.fstat(out.fileno()).st_size > size:
            out.truncate(size)
    return sha.hexdigest(), size


def _write(out: IO[bytes], data: bytes) -> None:
    """Write all of ``data``: a disk that fills up takes a part without an error."""
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]
