"""The folder of signed metadata in a channel, exchanged whole where the system can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repack.model.channel import is_litter
from repack.places import files
from repack.places.channel import exchange

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LIMIT = 5_000_000


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file of a metadata folder, by name; empty when there is no such folder.

    Raises:
        IntegrityError: a file is too large for metadata.
        PlaceError: the folder cannot be read.
    """
    if not folder.is_dir():
        return {}
    with files.faults_at(folder):
        paths = [path for path in sorted(folder.iterdir()) if not is_litter(path.name)]
    return {path.name: files.read(path, _LIMIT) for path in paths}


def write_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    """Make ``folder`` hold exactly ``content``.

    Where two folders can change places in one system call, a reader sees the old set or the new.
    Elsewhere the files are replaced in the order they come in: between two of them a reader
    refuses the set, and sees it whole a moment later.

    Raises:
        SpaceError: the disk is full; what was there before still is, file by file.
        PlaceError: the folder cannot be written.
    """
    beside = folder.with_name(f"{files.TEMP_PREFIX}{folder.name}")
    files.remove(beside)
    if folder.is_dir():
        for name, data in content.items():
            files.write(beside / name, data)
        if exchange(beside, folder):
            files.remove(beside)
            return
        files.remove(beside)
    for name, data in content.items():
        files.write(folder / name, data)
    for name in set(read_folder(folder)) - set(content):
        files.remove(folder / name)
