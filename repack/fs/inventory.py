"""What is in a folder: every file with its SHA-256 and size, and what is no plain file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct, field

from repack.errors import UsageError
from repack.fs import atomic, digests
from repack.fs.litter import is_litter
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.file_entry import FileEntry


class _Walk(Struct):
    sizes: dict[RelPath, int] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)


class Inventory(Struct, frozen=True):
    """Everything below a folder.

    Attributes:
        found: path -> what is there.
        odd: paths that are links, devices or the like.
        litter: paths of what other systems and tools dropped; not looked into.
    """

    found: Mapping[RelPath, FileEntry]
    odd: tuple[str, ...]
    litter: tuple[str, ...]


def take(folder: Path, known: Mapping[RelPath, FileEntry] | None = None) -> Inventory:
    """Hash every file below ``folder``, several at once, the largest first.

    Args:
        known: files that the caller has just hashed, by path; only their size is compared.

    Raises:
        UsageError: there is no such folder.
        PlaceError: something in it cannot be read.
    """
    if not folder.is_dir():
        raise UsageError("there is no such folder", where=folder)
    walk = _Walk()
    _walk(folder, "", walk)
    paths = sorted(walk.sizes, key=lambda path: walk.sizes[path], reverse=True)

    def look(path: RelPath) -> FileEntry:
        if known and path in known and known[path].size == walk.sizes[path]:
            return known[path]
        return digests.file_entry(path, folder / path)

    # hashlib and the disk both let other threads run
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = dict(zip(paths, pool.map(look, paths), strict=True))
    return Inventory(found, tuple(sorted(walk.odd)), tuple(sorted(walk.litter)))


def _walk(root: Path, folder: str, walk: _Walk) -> None:
    with atomic.os_errors_at(root / folder), os.scandir(root / folder) as entries:
        for entry in entries:
            path = folder + entry.name
            if is_litter(entry.name):
                walk.litter.append(path)
            elif entry.is_dir(follow_symlinks=False):
                _walk(root, f"{path}/", walk)
            elif entry.is_file(follow_symlinks=False):
                # Not checked: a name that no list may hold is what a check is to find.
                walk.sizes[str.__new__(RelPath, path)] = entry.stat(follow_symlinks=False).st_size
            else:
                walk.odd.append(path)
