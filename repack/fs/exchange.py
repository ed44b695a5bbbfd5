"""Two folders that change places in one system call, where the system has one."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from pathlib import Path

# linux/fs.h and fcntl.h
_RENAME_EXCHANGE: Final = 2
# What a kernel, a file system or a mount point answers that cannot do it, though a rename may work.
_CANNOT: Final = {errno.EINVAL, errno.EBUSY, errno.EXDEV, errno.ENOSYS, errno.ENOTSUP}


def can_exchange(folder: Path) -> bool:
    """Whether two folders inside ``folder`` can change places in one system call."""
    # renameat2(2): Linux since 3.15, glibc since 2.28, musl since 1.2.4
    return sys.platform == "linux" and folder.is_dir() and hasattr(_libc(), "renameat2")


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system cannot.

    Raises:
        PlaceError: it can, and refuses.
    """
    if not can_exchange(one.parent):
        return False
    with atomic.os_errors_at(other):
        if (number := beneath.exchange(one, other, _RENAME_EXCHANGE)) in _CANNOT:
            return False
        if number != 0:
            raise OSError(number, os.strerror(number))
    with atomic.os_errors_at(other.parent):
        atomic.sync_folder(other.parent)
    return True


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
