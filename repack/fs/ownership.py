"""Whose a file is: what another user may have put there is not believed."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Final

from repack.errors import PlaceError
from repack.fs.atomic import os_errors_at
from repack.fs.locks import user_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OTHERS_WRITE: Final = 0o022


def check_own_file(path: Path, what: str) -> bool:
    """Whether there is a file, which then is ours and written by nobody else.

    Raises:
        PlaceError: it is a link or no plain file, another user's, or others may write to it.
    """
    with os_errors_at(path):
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    if not stat.S_ISREG(status.st_mode):
        raise PlaceError(f"the {what} is no plain file", where=path, hint="see who made it")
    _check(path, status, what)
    return True


def make_own_folder(path: Path, mode: int) -> None:
    """See that there is a folder of this mode, ours, whatever the umask.

    Raises:
        PlaceError: it is a link or no folder, or another user's.
    """
    with os_errors_at(path):
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        if sys.platform == "win32":
            return
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise PlaceError("is a link or no folder", where=path, hint="see who made it")
        if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != mode:
            path.chmod(mode)
            status = path.lstat()
    _check(path, status, "folder")


@contextlib.contextmanager
def readable_for_all() -> Iterator[None]:
    """Let others read what is made in the block, whatever the umask; it counts for all threads."""
    before = os.umask(_OTHERS_WRITE)
    try:
        yield
    finally:
        os.umask(before)


def _check(path: Path, status: os.stat_result, what: str) -> None:
    if sys.platform == "win32":
        return
    if status.st_uid != os.geteuid():
        owner = user_name(status.st_uid)
        raise PlaceError(
            f"the {what} is {owner}'s",
            where=path,
            expected=f"one of {user_name(os.geteuid())}, who runs this",
            hint=f"run as {owner}, or see why it is there and remove it",
        )
    if status.st_mode & _OTHERS_WRITE:
        raise PlaceError(
            f"others may write to the {what}",
            where=path,
            got=f"mode {stat.S_IMODE(status.st_mode):o}",
            hint="see whether it was changed; then: chmod go-w",
        )
