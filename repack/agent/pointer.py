"""The pointer to the release in use, which is replaced atomically.

On POSIX it is a symbolic link, replaced by ``rename``. Windows lets only administrators make
symbolic links, and renames no folder over another. There a small file, ``current.txt``, is decisive
and replaced by rename; a junction ``current``, which needs no rights, is made to follow it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final, Literal

from repack.errors import PlaceError, RepackError
from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from pathlib import Path

Style = Literal["link", "file"]
STYLE: Final[Style] = "file" if sys.platform == "win32" else "link"
_LIMIT: Final = 1024


class Pointer:
    """What ``path`` points to: a folder ``releases/N`` beside it, or nothing.

    Args:
        path: such as ``ROOT/LABEL/current``.
        style: a link, or a file with a junction.
    """

    def __init__(self, path: Path, style: Style = STYLE) -> None:
        self._path, self._style = path, style

    def get(self) -> int | None:
        """The number of the release in use; None without a pointer, or if it is not repack's."""
        try:
            if self._style == "link":
                text = beneath.readlink(self._path)
            else:
                text = atomic.read(self._file, _LIMIT).decode().strip()
        except (OSError, RepackError, ValueError):
            return None
        folder, _, number = text.replace("\\", "/").rpartition("/")
        return int(number) if folder == "releases" and number.isdecimal() else None

    def set(self, release: int | None) -> None:
        """Point to another release, in one step.

        Raises:
            SpaceError: the disk is full; nothing has changed.
            PlaceError: the system refuses, or something else is in the way; nothing has changed.
        """
        if self._style == "file":
            self._set_file(release)
        elif release is None:
            if beneath.is_link(self._path):
                atomic.remove(self._path)
        else:
            self._set_link(f"releases/{release}")

    def _set_link(self, target: str) -> None:
        if beneath.exists(self._path) and not beneath.is_link(self._path):
            raise PlaceError("is no link of repack's", where=self._path, hint="move it away")
        beside = self._path.with_name(f"{atomic.TEMP_PREFIX}{self._path.name}")
        atomic.remove(beside)
        with atomic.os_errors_at(self._path):
            beneath.symlink(target, beside)
            atomic.rename(beside, self._path)
            atomic.sync_folder(self._path.parent)

    @property
    def _file(self) -> Path:
        return self._path.with_name(f"{self._path.name}.txt")

    def _set_file(self, release: int | None) -> None:
        beside = self._path.with_name(f"{atomic.TEMP_PREFIX}{self._path.name}")
        if release is not None:
            # Made first: where the volume has no junctions, nothing has changed yet.
            _make_junction(beside, self._path.parent / "releases" / str(release))
            atomic.write(self._file, f"releases/{release}\n".encode())
        else:
            atomic.remove(self._file)
        if sys.platform == "win32":
            with atomic.os_errors_at(self._path):
                # A kill between these two leaves no junction; current.txt has the number, and
                # the next call of set() makes it.
                if os.path.lexists(self._path):
                    beneath.remove_folder(self._path)  # removes the junction, not what it points to
                if release is not None:
                    beneath.rename(beside, self._path)


def _make_junction(path: Path, folder: Path) -> None:
    """Let ``path`` lead to ``folder``, on Windows; only NTFS and ReFS can.

    Raises:
        PlaceError: the volume cannot, or ``folder`` is none; ``path`` is not there.
    """
    if sys.platform == "win32":
        import _winapi

        with atomic.os_errors_at(path):
            if os.path.lexists(path):
                beneath.remove_folder(path)
        try:
            _winapi.CreateJunction(str(folder), str(path))
        except OSError as error:
            with contextlib.suppress(OSError):
                beneath.remove_folder(path)  # it leaves an empty folder
            raise PlaceError(
                "no junction to the release can be made",
                where=path.parent,
                got=error.strerror,
                hint="releases need a volume with NTFS",
            ) from error
