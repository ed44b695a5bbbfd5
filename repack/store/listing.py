"""What lies in a folder, or why that cannot be said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from pathlib import Path


def list_folder(folder: Path) -> tuple[Path, ...]:
    """What lies in ``folder``, sorted; nothing when there is no such folder.

    ``glob`` and ``os.walk`` take a folder that cannot be read for an empty one.

    Raises:
        PlaceError: it cannot be read.
    """
    with atomic.os_errors_at(folder):
        try:
            return tuple(folder / entry.name for entry in beneath.scan(folder))
        except (FileNotFoundError, NotADirectoryError):
            return ()
