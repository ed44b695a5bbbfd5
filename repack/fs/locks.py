"""Locks on files: one process at a time, released by the system when the process ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from typing import IO, TYPE_CHECKING, Final

from repack.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
from repack.fs import beneath
from repack.fs.atomic import os_errors_at

_LOCK_RETRIES: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
# wine's C library gives no reason: 0
_LOCKED: Final = {errno.EAGAIN, errno.EACCES, errno.EDEADLK, 0}


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Iterator[int]:
    """Hold the lock file ``path`` while the block runs; the system frees it if the process dies.

    Yields:
        The handle; a process that inherits it holds the lock as well, until it ends.

    Raises:
        BusyError: somebody else holds it; ``what`` says what they are doing.
    """
    with os_errors_at(path):
        beneath.make_folders(path.parent)
        handle = beneath.open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        stream = os.fdopen(handle, "a+b")
    with stream:
        if not _lock_soon(stream, path):
            raise BusyError(f"{what} is already running", where=path, hint="wait for it to end")
        yield stream.fileno()


def _lock_soon(stream: IO[bytes], path: Path) -> bool:
    # A run that was killed while it started a program has left a copy of itself, which holds the
    # lock until it has become that program.
    for pause in (*_LOCK_RETRIES, 0):
        with os_errors_at(path):
            if try_lock(stream):
                return True
        time.sleep(pause)
    return False


def try_lock(stream: IO[bytes] | int) -> bool:
    """Lock an open file, or a folder by its handle, against all others; say if that went well.

    The system frees the lock when ``stream`` is closed or the process dies.

    Raises:
        OSError: the file system has no locks.
    """
    handle = stream if isinstance(stream, int) else stream.fileno()
    try:
        if sys.platform == "win32":
            import msvcrt

            # It locks from where the file is being read: all must mean the same byte.
            position = os.lseek(handle, 0, os.SEEK_CUR)
            os.lseek(handle, 0, os.SEEK_SET)
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(handle, position, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKED:
            return False
        raise
    return True
