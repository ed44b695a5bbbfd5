"""Two folders that change places in one system call, where the system has one."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from repack.fs import atomic

if TYPE_CHECKING:
    from pathlib import Path

_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100


def can_exchange(folder: Path) -> bool:
    """Whether two folders inside ``folder`` can change places in one system call."""
    return sys.platform == "linux" and folder.is_dir() and hasattr(_libc(), "renameat2")


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system cannot.

    Raises:
        PlaceError: it can, and does not want to.
    """
    if not can_exchange(one.parent):
        return False
    try:
        _renameat2(one, other)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.EBUSY, errno.EXDEV, errno.ENOSYS}:
            return False
        raise atomic.from_os_error(error, other) from error
    atomic.sync_folder(other.parent)
    return True


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _renameat2(one: Path, other: Path) -> None:
    """``renameat2(2)`` with ``RENAME_EXCHANGE``; Linux since 3.15, glibc since 2.28."""
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)
    if _libc().renameat2(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))
