"""Locks on files: one process at a time, released by the system when the process ends.

Whoever can open a file can lock it. So a lock that must not be held against us is a file that its
owner alone can open (0600), and one that belongs to somebody else is not taken for ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from repack.errors import BusyError, PlaceError
from repack.fs import beneath
from repack.fs.atomic import os_errors_at, unlink

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK_RETRIES: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
# wine's C library gives no reason: 0
_LOCKED: Final = {errno.EAGAIN, errno.EACCES, errno.EDEADLK, 0}
_PRIVATE: Final = 0o600
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
_PROC_LOCKS: Final = Path("/proc/locks")


@contextlib.contextmanager
def exclusive(
    path: Path, what: str, *, shared: bool = False, fleeting: bool = False
) -> Iterator[int]:
    """Hold the lock file ``path`` while the block runs; the system frees it if the process dies.

    Args:
        what: what is going on under it, for messages.
        shared: whether other users may take the lock as well, as far as the umask lets them.
        fleeting: whether the file goes when the block ends.

    Yields:
        The handle; a process that inherits it holds the lock as well, until it ends.

    Raises:
        BusyError: somebody else holds it; says who, and ``what`` they are doing.
        PlaceError: it cannot be opened, or is somebody else's.
    """
    with os_errors_at(path):
        beneath.make_folders(path.parent)
    handle = _take(path, what, shared=shared)
    try:
        yield handle
    finally:
        if fleeting and sys.platform != "win32":
            # While it is held: whoever waits for it sees that it is not the file at `path` any more.
            with contextlib.suppress(OSError):
                unlink(path)
        os.close(handle)


def _take(path: Path, what: str, *, shared: bool) -> int:
    # A run that was killed while it started a program has left a copy of itself, which holds the
    # lock until it has become that program.
    for pause in (*_LOCK_RETRIES, None):
        handle = _open(path, what, shared=shared)
        try:
            with os_errors_at(path):
                if try_lock(handle) and (sys.platform == "win32" or _is_still(handle, path)):
                    return handle
                holder = _holder(handle)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if pause is not None:
            time.sleep(pause)
    raise BusyError(f"{what} is already running", where=path, got=holder, hint="wait for it to end")


def _open(path: Path, what: str, *, shared: bool) -> int:
    """Open a lock file; one that is somebody else's is removed where that can be."""
    with os_errors_at(path):
        for _ in range(3):
            try:
                handle = beneath.open_file(path, _FLAGS, 0o666 if shared else _PRIVATE)
            except PermissionError:
                owner = _owner(path)
                if owner is None:
                    raise
                raise BusyError(
                    f"{what} may be running as another user",
                    where=path,
                    got=f"the lock is {owner}'s",
                    hint=f"run as {owner}, or see that it has ended and remove the lock",
                ) from None
            if shared or sys.platform == "win32":
                return handle
            folder = path.parent.stat()
            if os.geteuid() == 0 and os.fstat(handle).st_uid == 0 and folder.st_uid != 0:
                # Root works in somebody's folder now, and its owner will have to lock it later.
                os.fchown(handle, folder.st_uid, -1)
            status = os.fstat(handle)
            if stat.S_ISREG(status.st_mode) and status.st_uid in {os.geteuid(), folder.st_uid}:
                if status.st_mode & 0o077:
                    os.fchmod(handle, _PRIVATE)
                return handle
            os.close(handle)
            unlink(path)
    raise PlaceError("somebody else puts a lock here again and again", where=path)


def _is_still(handle: int, path: Path) -> bool:
    """Whether the open file is the one at ``path``: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _owner(path: Path) -> str | None:
    """The name of the user whose file this is, when that is another one."""
    try:
        uid = path.lstat().st_uid
    except OSError:
        return None
    return None if sys.platform == "win32" or uid == os.geteuid() else user_name(uid)


def user_name(uid: int) -> str:
    """The name of a user; his number where he has none."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"user {uid}"


def _holder(handle: int) -> str | None:
    """Who holds the lock, on Linux: process, program and user."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        inode = str(os.fstat(handle).st_ino)
        for line in _PROC_LOCKS.read_text("ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode and int(words[4]) > 0:
                process = Path("/proc", words[4])
                name = (process / "comm").read_text("utf-8", "replace").strip()
                shown = "".join(c if c.isprintable() else "?" for c in name)
                return f"held by process {words[4]} ({shown}) of {user_name(process.stat().st_uid)}"
    return None


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
