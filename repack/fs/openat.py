"""The system's ways to open a path from a folder, so that no link is followed on the way.

Linux has one call for that, openat2(2) with ``RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS``. Elsewhere
each step is opened from the step before with ``O_NOFOLLOW``. Windows opens no path from a handle, so
each step is looked at before; there a link that is exchanged between the look and the use is followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
from functools import cache
from typing import Final

# linux/openat2.h; the number is the same on every architecture that Python runs on.
_OPENAT2: Final = 437
NO_MAGICLINKS: Final = 0x02
NO_SYMLINKS: Final = 0x04
BENEATH: Final = 0x08
_SURROGATE: Final = 0x20000000  # winnt.h: a reparse point that stands for another name

HAS_HANDLES: Final = sys.platform != "win32"
NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
FOLDER: Final = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
STEP: Final = FOLDER | getattr(os, "O_PATH", os.O_RDONLY)
# Nothing is waited for: a pipe without a writer, a device, a terminal.
AT_ONCE: Final = (
    getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def openat2(folder: int, way: str, flags: int, mode: int, resolve: int) -> int:
    """Open ``way`` from a folder by the system call of that name."""
    how = _How(flags, mode if flags & os.O_CREAT else 0, resolve)
    while True:
        handle = libc().syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(folder),
            os.fsencode(way),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if handle >= 0:
            return int(handle)
        number = ctypes.get_errno()
        if number not in {errno.EINTR, errno.EAGAIN}:
            raise OSError(number, os.strerror(number), way)


@cache
def libc() -> ctypes.CDLL:
    """The C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


@cache
def has_openat2() -> bool:
    """Whether the kernel opens a whole way below a folder in one call; a filter may forbid it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            handle = os.open("/", STEP)
            try:
                os.close(openat2(handle, ".", STEP, 0, BENEATH))
            finally:
                os.close(handle)
            return True
    return False


def refused(path: str) -> OSError:
    """The error for a link on the way."""
    return OSError(errno.ELOOP, "is a link, and none is followed here", path)


def is_link(status: os.stat_result) -> bool:
    """Whether it is a symbolic link, or a junction of Windows."""
    return stat.S_ISLNK(status.st_mode) or bool(getattr(status, "st_reparse_tag", 0) & _SURROGATE)


def open_way(place: str, way: str, flags: int, mode: int = 0o666) -> int:
    """Open what lies at ``way`` below ``place``, without following a link on the way or there."""
    folder = os.open(place, STEP)
    try:
        if has_openat2():
            return openat2(folder, way, flags, mode, BENEATH | NO_SYMLINKS | NO_MAGICLINKS)
        *steps, name = way.split("/")
        for step in steps:
            try:
                further = os.open(step, STEP | NOFOLLOW, dir_fd=folder)
            except NotADirectoryError:
                _refuse_link(step, folder)
                raise
            os.close(folder)
            folder = further
        try:
            return os.open(name, flags | NOFOLLOW, mode, dir_fd=folder)
        except NotADirectoryError:
            _refuse_link(name, folder)
            raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise refused(_first_link(place, way)) from None
        raise
    finally:
        os.close(folder)


def _refuse_link(name: str, folder: int) -> None:
    if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise refused(name)


def _first_link(place: str, way: str) -> str:
    """The first link on a way, to be named in an error; the whole way if it has gone."""
    path = place
    for step in way.split("/"):
        path = f"{path}/{step}"
        with contextlib.suppress(OSError):
            if is_link(os.lstat(path)):
                return path
    return path


def look_at_steps(place: str, way: str, *, last: bool) -> None:
    """Refuse a link on the way from ``place``, for systems that open nothing from a handle."""
    path, steps = place, way.replace(os.sep, "/").split("/")
    for step in steps if last else steps[:-1]:
        path = f"{path}{os.sep}{step}"
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return
        if is_link(status):
            raise refused(path)
