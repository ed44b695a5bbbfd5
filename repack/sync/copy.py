"""Copy files to a folder that may go away at any moment.

A copy that was cut off is continued: what is there is compared with the source on the way, so that
only the torn end is written again.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import IO, TYPE_CHECKING, Final, Protocol

from repack.errors import IntegrityError
from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from repack.file_entry import FileEntry

_SLICE: Final = 0.25


class Transport(Protocol):
    """A program or function that copies packages into a stage."""

    name: str

    def copy(
        self, entries: Sequence[FileEntry], stage: Path, advance: Callable[[int], None]
    ) -> None:
        """Copy ``entries`` below ``stage``; what is wrong there is found by reading back."""


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
    """Copying by this program itself.

    Args:
        source: path in the channel -> the file to copy.
        rate: bytes a second; None for no limit.
    """

    name = "own"

    def __init__(self, source: Callable[[str], Path], rate: int | None = None) -> None:
        self._source = source
        self._limit = RateLimit(rate)

    def copy(
        self, entries: Sequence[FileEntry], stage: Path, advance: Callable[[int], None]
    ) -> None:
        """Copy ``entries`` below ``stage``, hashed on the way.

        Raises:
            IntegrityError: a source is not what it should be.
            SpaceError: the disk is full; what was copied is kept for the next run.
            PlaceError: the folder went away, or cannot be written.
        """
        for entry in entries:
            source, target = self._source(entry.path), stage / entry.path
            copy_file(source, target, entry, self._limit, advance)


def copy_file(
    source: Path, target: Path, entry: FileEntry, limit: RateLimit, advance: Callable[[int], None]
) -> None:
    """Copy one file, continuing an earlier copy. Raises as :meth:`LocalCopy.copy` does."""
    with atomic.os_errors_at(target):
        beneath.make_folders(target.parent)
        handle = beneath.open_file(target, os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(handle, "r+b", buffering=0) as out:
        with atomic.os_errors_at(source):
            stream = beneath.reading(source, 0)
        with stream:
            sha256, size = _copy_differing((stream, source), (out, target), limit, advance)
            mtime = os.fstat(stream.fileno()).st_mtime_ns
    if (sha256, size) != (entry.sha256, entry.size):
        atomic.remove(target)
        raise IntegrityError(
            "the source is not what was released; the destination is as it was",
            where=source,
            expected=f"{entry.sha256}, {entry.size} bytes",
            got=f"{sha256}, {size} bytes",
            hint="build the label again, which repairs its channel",
        )
    with atomic.os_errors_at(target):
        beneath.set_times(target, (mtime, mtime))


def _copy_differing(
    source: tuple[IO[bytes], Path],
    target: tuple[IO[bytes], Path],
    limit: RateLimit,
    advance: Callable[[int], None],
) -> tuple[str, int]:
    """Make the target's bytes the source's; only what differs is written.

    Args:
        source: the stream, and the file's path for errors; ``target`` likewise.

    Returns:
        SHA-256 and size of the source.
    """
    (stream, source_path), (out, target_path) = source, target
    sha, size, same = hashlib.sha256(), 0, True
    while True:
        with atomic.os_errors_at(source_path):
            data = stream.read(limit.chunk)
        if not data:
            break
        sha.update(data)
        with atomic.os_errors_at(target_path):
            # A cut-off copy is right up to its torn end, so behind the first difference all is
            # written without another look.
            same = same and out.read(len(data)) == data
            if not same:
                out.seek(size)
                _write_all(out, data)
                limit.spend(len(data))
        size += len(data)
        advance(len(data))
    with atomic.os_errors_at(target_path):
        if os.fstat(out.fileno()).st_size > size:
            out.truncate(size)
    return sha.hexdigest(), size


def _write_all(out: IO[bytes], data: bytes) -> None:
    """Write all of ``data``: a disk that fills up takes a part without an error."""
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]
