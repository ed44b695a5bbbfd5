"""A folder against a list of what is to be in it.

Either everything below the folder is measured (:func:`take_inventory`) and compared with the list
(:func:`compare`), or only what the list names is looked at (:func:`intact_paths`).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from repack.errors import UsageError
from repack.file_entry import UNKNOWN_SIZE, FileEntry
from repack.fs import atomic, beneath, digests
from repack.fs.litter import HARMLESS, SYSTEM_FOLDER
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from repack.fs.beneath import Entry


class Inventory(Struct, frozen=True):
    """Everything below a folder.

    Attributes:
        files: what each plain file is, by path.
        odd: paths that are links, devices or the like.
        litter: paths of what other systems and tools dropped; not looked into.
    """

    files: Mapping[RelPath, FileEntry]
    odd: tuple[str, ...]
    litter: tuple[str, ...]


class Difference(Struct, frozen=True):
    """One path at which a folder is not what its list says."""

    kind: Literal["missing", "changed", "extra"]
    path: str
    what: str
    expected: str | None = None
    got: str | None = None


def take_inventory(folder: Path, hashed: Mapping[RelPath, FileEntry] | None = None) -> Inventory:
    """Hash every file below ``folder``, several at once, the largest first.

    Args:
        hashed: files that the caller has just hashed, by path; only their size is compared.

    Raises:
        UsageError: there is no such folder.
        PlaceError: something in it cannot be read.
    """
    if not folder.is_dir():
        raise UsageError("there is no such folder", where=folder)
    sizes: dict[RelPath, int] = {}
    odd: list[str] = []
    litter: list[str] = []
    for path, entry in _scan(folder, ""):
        is_plain = entry.kind == "file"
        if is_plain and HARMLESS.fullmatch(path):
            litter.append(path)
        elif is_plain:
            # Not checked as RelPath: a name that no list may hold is what a check is to find.
            sizes[str.__new__(RelPath, path)] = entry.size
        else:
            odd.append(path)

    def measure(path: RelPath) -> FileEntry:
        if hashed and path in hashed and hashed[path].size == sizes[path]:
            return hashed[path]
        return digests.file_entry(path, folder / path)

    # hashlib and the disk both let other threads run.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        entries = pool.map(measure, sorted(sizes, key=lambda path: -sizes[path]))
        files = {entry.path: entry for entry in entries}
    return Inventory(files, tuple(sorted(odd)), tuple(sorted(litter)))


def _scan(root: Path, folder: str) -> Iterator[tuple[str, Entry]]:
    """Every litter, file and odd thing below ``root``, with its path there; links not followed."""
    with atomic.os_errors_at(root / folder):
        try:
            entries = beneath.scan(root / folder, sizes=True)
        except PermissionError:
            if folder.lower() != f"{SYSTEM_FOLDER}/":  # Windows lets nobody in there
                raise
            entries = []
    for entry in entries:
        path = folder + entry.name
        if entry.kind == "folder":
            yield from _scan(root, f"{path}/")
        else:
            yield path, entry


def compare(entries: Mapping[RelPath, FileEntry], inventory: Inventory) -> Iterator[Difference]:
    """What differs between a list and a folder: first what is listed, then what is not."""
    for path, listed in sorted(entries.items()):
        there = inventory.files.get(path)
        if there is None:
            is_odd = path in inventory.odd
            yield Difference("missing", path, "is no plain file" if is_odd else "missing")
        elif there.sha256 != listed.sha256:
            yield Difference("changed", path, "changed", listed.sha256, there.sha256)
        elif listed.size not in {UNKNOWN_SIZE, there.size}:
            size = str(listed.size)
            yield Difference("changed", path, "another size", size, str(there.size))
    for extra in sorted({*inventory.files, *inventory.odd} - set(entries)):
        yield Difference("extra", extra, "not listed")


def intact_paths(
    folder: Path, entries: Iterable[FileEntry], advance: Callable[[int], None]
) -> set[RelPath]:
    """The paths of ``entries`` at which ``folder`` has exactly that file; the largest first.

    Args:
        advance: told the bytes of each file that was hashed.

    Raises:
        PlaceError: a file cannot be read.
    """

    def is_intact(entry: FileEntry) -> bool:
        path = folder / entry.path
        with atomic.os_errors_at(path):
            if beneath.is_link(path) or not beneath.is_file(path):
                return False
            if beneath.status(path).st_size != entry.size:
                return False
        same = digests.digest(path) == (entry.sha256, entry.size)
        advance(entry.size)
        return same

    order = sorted(entries, key=lambda entry: -entry.size)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        verdicts = pool.map(is_intact, order)
        return {entry.path for entry, same in zip(order, verdicts, strict=True) if same}
