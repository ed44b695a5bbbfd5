"""The folder of signed metadata in a channel, exchanged whole where the system can."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from repack.channel.layout import METADATA_DIR
from repack.errors import IntegrityError
from repack.fs import atomic, beneath
from repack.fs.exchange import exchange
from repack.fs.litter import is_litter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.channel.folder import Channels
    from repack.names import LabelName

_LIMIT = 5_000_000
# Versions of root count up from 1, and every other role has a file or two.
_MAX_FILES = 10_000


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file of a metadata folder, by name; empty when there is no such folder.

    Raises:
        IntegrityError: a file is too large for metadata.
        PlaceError: the folder cannot be read.
    """
    with atomic.os_errors_at(folder):
        names = [e.name for e in beneath.scan_if_there(folder) if not is_litter(e.name)]
    if len(names) > _MAX_FILES:
        expected = f"at most {_MAX_FILES} files"
        raise IntegrityError("too many files for metadata", where=folder, expected=expected)
    return {name: atomic.read(folder / name, _LIMIT) for name in names}


def newest(channels: Channels, label: LabelName) -> dict[str, bytes]:
    """A label's metadata as it was last signed, by file name; empty when nothing was.

    Versions of metadata never go back: a restored release gets the newest too, and damage to the
    published files costs nothing.
    """
    last = max(channels.releases(label), default=0)
    folders = [channels.history(label) / str(last), channels.published(label)]
    return max((read_folder(folder / METADATA_DIR) for folder in folders), key=_version)


def _version(group: Mapping[str, bytes]) -> int:
    try:
        version = json.loads(group["timestamp.json"])["signed"]["version"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return 1 if group else 0
    return version if isinstance(version, int) else 1


def write_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    """Make ``folder`` hold exactly ``content``.

    Where two folders can change places in one system call, a reader sees the old set or the new.
    Elsewhere the files are replaced in the order they come in: between two of them a reader
    refuses the set, and sees it whole a moment later.

    Raises:
        SpaceError: the disk is full; what was there before still is, file by file.
        PlaceError: the folder cannot be written.
    """
    beside = folder.with_name(f"{atomic.TEMP_PREFIX}{folder.name}")
    atomic.remove(beside)
    with atomic.os_errors_at(folder):
        is_there = beneath.is_folder(folder)
    if is_there:
        for name, data in content.items():
            atomic.write(beside / name, data)
        if exchange(beside, folder):
            atomic.remove(beside)
            return
        atomic.remove(beside)
    for name, data in content.items():
        atomic.write(folder / name, data)
    for name in set(read_folder(folder)) - set(content):
        atomic.remove(folder / name)
