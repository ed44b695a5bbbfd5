"""One archive on its way into the store.

A partial download is a file named after the digest that it must have in the end. Its writer holds a
lock on it, so that of several builders one fetches and the others wait; the system releases the lock
of one that was killed, and the next resumes where it ended. Every byte is hashed as it is written,
and :meth:`Partial.commit` takes in only a file of the right digest and size.

Beside a large one lies the validator of the answer it came from (``ETag`` or ``Last-Modified``): a
resumed download is asked for with ``If-Range``, so that the halves of two files are never joined.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from typing import TYPE_CHECKING, BinaryIO, Final

from repack.errors import IntegrityError
from repack.fs import atomic, beneath, locks

if TYPE_CHECKING:
    from pathlib import Path

    from repack.names import Digest

# Below this, another run loses nothing when it asks for the whole file.
_WORTH_NOTING: Final = atomic.CHUNK
VALIDATOR: Final = ".validator"
# A channel's files are hard links to this one. Their copies have its mode, and whoever copies a new
# release over an old copy must be able to write it; a change here is seen by time and size.
_MODE: Final = 0o644
_EPOCH_2000: Final = 946_684_800


def verified_mtime(sha256: Digest) -> int:
    """The mtime, in nanoseconds, that says "this file was hashed and is ``sha256``".

    It is derived from the digest, so it needs no file of its own, goes with the file through
    ``rename``, hard links and backups, and is the same on every machine. Even seconds between 2000
    and 2018: every file system can say them (FAT counts in steps of 2 s).
    """
    return (_EPOCH_2000 + 2 * int(sha256[:7], 16)) * 1_000_000_000


def mark_verified(path: Path | int, sha256: Digest, read_at: int | None = None) -> None:
    """Set the mtime that says a file was hashed; ``read_at`` is its last use, in nanoseconds.

    Windows keeps no time of change, so there its last use is now.
    """
    mtime = verified_mtime(sha256)
    unused = time.time_ns() if sys.platform == "win32" else mtime
    times = (read_at or unused, mtime)
    beneath.set_times(path, times)


def last_touched(status: os.stat_result) -> float:
    """When a file was last changed, renamed, linked, unlinked or marked, in seconds.

    Of these Windows knows only when it was made; :func:`mark_verified` says there when it was used.
    """
    if sys.platform == "win32":
        return max(status.st_ctime, status.st_atime)
    return status.st_ctime


class Partial:
    """The file that is being filled; made by :meth:`opened`, closed by :meth:`close`.

    Attributes:
        offset: how many bytes are there and hashed.
        validator: what they came with, if it can be asked whether it still holds.
    """

    def __init__(self, path: Path, stream: BinaryIO, sha256: Digest, size: int) -> None:
        self.path = path
        self.sha256 = sha256
        self.size = size
        self.offset = 0
        self.validator: str | None = None
        self._stream = stream
        self._hash = hashlib.sha256()
        self._noted = False

    @classmethod
    def opened(cls, path: Path, sha256: Digest, size: int) -> Partial | None:
        """Open the partial file ``path`` and lock it; None when somebody else has it.

        Raises:
            SpaceError: the disk is full.
            PlaceError: the file cannot be written.
        """
        with atomic.os_errors_at(path):
            handle = beneath.open_file(path, os.O_RDWR | os.O_CREAT, 0o644)
            stream = os.fdopen(handle, "r+b", buffering=0)
            try:
                if locks.try_lock(stream) and _is_still(stream, path):
                    partial = cls(path, stream, sha256, size)
                    partial._catch_up()
                    return partial
            except BaseException:
                stream.close()
                raise
            stream.close()
            return None

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + VALIDATOR)

    def _read_note(self) -> str | None:
        try:
            with beneath.reading(self._note) as stream:
                text = str(stream.read(1000), "latin-1")
        except FileNotFoundError:
            return None
        self._noted = True
        # A torn or foreign note must not become a header of its own.
        return text if text.isprintable() and text.strip() == text != "" else None

    def _catch_up(self) -> None:
        """Hash what an earlier run left, or drop what cannot be continued."""
        size = os.fstat(self._stream.fileno()).st_size
        if not size:
            return
        self.validator = self._read_note()
        # Without a validator the server cannot be asked whether the rest belongs to the same file
        # (If-Range, RFC 9110 section 13.1.5); a complete file needs no rest.
        if size > self.size or (size < self.size and self.validator is None):
            self._cut()
            return
        buffer = memoryview(bytearray(min(size, atomic.CHUNK)))
        while count := self._stream.readinto(buffer):  # type: ignore[attr-defined]
            self._hash.update(buffer[:count])
            self.offset += count

    def _cut(self) -> None:
        """Forget all bytes, then their note: a note never lies there without bytes to go with it."""
        self._stream.seek(0)
        self._stream.truncate()
        self._forget_note()
        self._hash = hashlib.sha256()
        self.offset = 0
        self.validator = None

    def _forget_note(self) -> None:
        if self._noted:
            beneath.unlink(self._note)
            self._noted = False

    def restart(self, validator: str | None = None) -> None:
        """Begin from zero with an answer that carries ``validator``.

        Raises:
            SpaceError: the disk is full.
            PlaceError: the file cannot be written.
        """
        with atomic.os_errors_at(self.path):
            if self.offset or self._noted:
                self._cut()
            self.validator = validator
            if validator and self.size > _WORTH_NOTING:
                self._noted = True
                with beneath.writing(self._note) as stream:
                    stream.write(validator.encode("latin-1", "replace"))

    def write(self, data: memoryview) -> None:
        """Append and hash ``data``.

        Raises:
            IntegrityError: the file grows larger than it may.
            SpaceError: the disk is full.
            PlaceError: the file cannot be written.
        """
        if self.offset + len(data) > self.size:
            raise IntegrityError("longer than its record says", expected=f"{self.size} bytes")
        self._hash.update(data)
        with atomic.os_errors_at(self.path):
            unwritten = data
            while unwritten:
                unwritten = unwritten[self._stream.write(unwritten) :]
        self.offset += len(data)

    def check(self) -> None:
        """Compare what is there with what shall be.

        Raises:
            IntegrityError: size or digest is another.
        """
        if self.offset != self.size:
            raise IntegrityError(
                "not as long as its record says",
                expected=f"{self.size} bytes",
                got=f"{self.offset} bytes",
            )
        if (got := self._hash.hexdigest()) != self.sha256:
            raise IntegrityError(
                "the SHA-256 is not that of the record", expected=self.sha256, got=got
            )

    def commit(self, target: Path, *, flush: bool = True) -> None:
        """Check the file, flush it, mark it as hashed and give it its place in the store.

        Args:
            flush: if not, whoever calls flushes and marks it later. Until then it counts as a file
                that may have changed, which is hashed again: a power cut may spoil it.

        Raises:
            IntegrityError: it is not what it shall be.
            SpaceError: the disk is full.
            PlaceError: ``target`` cannot be written.
        """
        self.check()
        with atomic.os_errors_at(target):
            if flush:
                os.fsync(self._stream.fileno())
            self._forget_note()
            if sys.platform == "win32":
                # An open file can be neither renamed nor marked there.
                self._stream.close()
            if flush:
                mark_verified(self.path, self.sha256)
            beneath.set_mode(self.path, _MODE)
            try:
                atomic.rename(self.path, target)
            except FileNotFoundError:
                beneath.make_folders(target.parent)
                atomic.rename(self.path, target)

    def drop(self) -> None:
        """Remove the file, because another builder fetched the archive."""
        self.close()
        with atomic.os_errors_at(self.path):
            self._forget_note()
            try:
                beneath.unlink(self.path)
            except PermissionError:
                # On Windows it stays while another builder looks at it, who then drops it as well.
                if sys.platform != "win32":
                    raise

    def close(self) -> None:
        """Release the file; its bytes stay for the next run."""
        empty = not self.offset
        if empty and not self._stream.closed and sys.platform != "win32":
            with contextlib.suppress(OSError):
                if _is_still(self._stream, self.path):
                    beneath.unlink(self.path)
        self._stream.close()
        if empty and sys.platform == "win32":
            # Not while it is open; then the system keeps it if somebody else has opened it since.
            with contextlib.suppress(OSError):
                if not beneath.status(self.path).st_size:
                    beneath.unlink(self.path)


def _is_still(stream: BinaryIO, path: Path) -> bool:
    """Whether ``path`` is the open file, not one that was put there since."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), beneath.status(path))
    except FileNotFoundError:
        return False
