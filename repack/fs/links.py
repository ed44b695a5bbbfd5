"""Hard links and reflinks in place of copies, and the refusal of symbolic links."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from repack.errors import UsageError
from repack.fs.atomic import TEMP_PREFIX, os_errors_at, rename, unlink

_NO_LINK: Final = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES}
_FICLONE: Final = 0x40049409
Placed = Literal["kept", "link", "reflink", "copy"]


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            return False
    return True


def can_link(folder: Path) -> bool:
    """Whether a file in ``folder`` can have two names; FAT and some shares cannot do that.

    Raises:
        SpaceError: the disk is full.
        PlaceError: the folder cannot be written.
    """
    with (
        os_errors_at(folder),
        tempfile.TemporaryDirectory(prefix=TEMP_PREFIX, dir=folder) as inside,
    ):
        one, other = Path(inside) / "one", Path(inside) / "other"
        one.touch()
        try:
            other.hardlink_to(one)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        return True


def place(source: Path, target: Path) -> Placed:
    """Let ``target`` be the file ``source``: hard link, else reflink, else copy.

    ``target`` appears whole or not at all. A ``target`` that already is that very file is kept.

    Raises:
        SpaceError: the disk is full.
        PlaceError: anything else the system refuses.
    """
    with os_errors_at(target):
        with contextlib.suppress(FileNotFoundError):
            if target.samefile(source):
                return "kept"
        # Stores of older versions have read-only archives, whose copies nothing could be copied over.
        if not source.stat().st_mode & stat.S_IWUSR:
            with contextlib.suppress(PermissionError):
                source.chmod(0o644)
        try:
            target.hardlink_to(source)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
        else:
            return "link"
        return _place_over(source, target)


def _place_over(source: Path, target: Path) -> Placed:
    temp = target.with_name(f"{TEMP_PREFIX}{os.getpid()}-{target.name}")
    unlink(temp)
    how: Placed = "link"
    try:
        try:
            temp.hardlink_to(source)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            how = "reflink" if _reflink(source, temp) else "copy"
            if how == "copy":
                shutil.copyfile(source, temp)
            temp.chmod(0o644)
        rename(temp, target)
    finally:
        unlink(temp)
    return how


def refuse_symlinks(*paths: Path) -> None:
    """Refuse to write where a symlink, in any part of the path as given, leads elsewhere.

    Raises:
        UsageError: there is one.
    """
    for path in paths:
        for part in (path, *path.parents):
            if part.is_symlink():
                raise UsageError(
                    "the path leads through a symlink",
                    where=part,
                    got=f"a link to {part.readlink()}",
                    hint="name the real place",
                )
