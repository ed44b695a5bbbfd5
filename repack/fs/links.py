"""Hard links and reflinks in place of copies, and the refusal of symbolic links."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from typing import TYPE_CHECKING, Final, Literal

from repack.errors import UsageError
from repack.fs import beneath
from repack.fs.atomic import CHUNK, TEMP_PREFIX, os_errors_at, rename, unlink

if TYPE_CHECKING:
    from pathlib import Path

_NO_LINK: Final = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES}
_FICLONE: Final = 0x40049409
Placed = Literal["kept", "link", "reflink", "copy"]


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    with beneath.reading(source) as old, beneath.writing(target) as new:
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
    inside = folder / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
    with os_errors_at(folder):
        beneath.make_folder(inside, 0o700)
        try:
            beneath.writing(inside / "one", new=True).close()
            beneath.link(inside / "one", inside / "other")
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        finally:
            beneath.remove_tree(inside)
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
            if os.path.samestat(beneath.status(target), beneath.status(source)):
                return "kept"
        # Stores of older versions have read-only archives, whose copies nothing could be copied over.
        if not source.stat().st_mode & stat.S_IWUSR:
            with contextlib.suppress(PermissionError):
                source.chmod(0o644)
        try:
            beneath.link(source, target)
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
            beneath.link(source, temp)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            how = "reflink" if _reflink(source, temp) else "copy"
            if how == "copy":
                with beneath.reading(source) as old, beneath.writing(temp) as new:
                    shutil.copyfileobj(old, new, CHUNK)
            beneath.set_mode(temp, 0o644)
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
