"""The files below a folder, with their sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.fs import atomic, beneath
from repack.fs.litter import is_litter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.fs.beneath import Entry

# More than any metadata file has; the repodata of all of conda-forge has 300 MB.
_METADATA_LIMIT: Final = 1 << 30


def read_or_none(path: Path, limit: int = _METADATA_LIMIT) -> bytes | None:
    """The whole of one of our own metadata files; None when there is none.

    Raises:
        IntegrityError: it is longer than ``limit``.
        PlaceError: it cannot be read.
    """
    return atomic.read(path, limit) if beneath.exists(path) else None


def entries(folder: Path, *, sizes: bool = False) -> Iterator[tuple[str, Entry]]:
    """Everything below ``folder`` that is no folder, by ``/``-separated path; litter left out.

    A link to a folder is an odd entry, and not followed. No system drops links or devices, so such a
    thing is none's litter, whatever its name.

    Args:
        sizes: whether the entries have size and time.

    Raises:
        PlaceError: a folder cannot be read: it is not taken for an empty one.
    """
    waiting = [""]
    while waiting:
        at = waiting.pop()
        with atomic.os_errors_at(folder / at):
            # What went while we looked is gone; only the folder itself must be there.
            if at:
                present = beneath.scan_if_there(folder / at, sizes=sizes)
            else:
                present = beneath.scan(folder, sizes=sizes)
        kept = [e for e in present if e.kind == "odd" or not is_litter(e.name)]
        yield from ((at + entry.name, entry) for entry in kept if entry.kind != "folder")
        waiting += [f"{at}{entry.name}/" for entry in reversed(kept) if entry.kind == "folder"]


def walk(folder: Path) -> Iterator[str]:
    """Every file and odd thing below ``folder`` as a ``/``-separated path; as :func:`entries`."""
    return (path for path, _ in entries(folder))


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of everything below ``folder`` that is no folder; as :func:`entries`."""
    return {path: entry.size for path, entry in entries(folder, sizes=True)}
