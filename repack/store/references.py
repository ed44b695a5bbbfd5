"""What the store must keep: every digest that a channel or its history names.

The metadata of a channel is searched as text for anything that looks like a SHA-256, and not
parsed: so nothing is swept because of a file format that this module does not know yet.
"""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.codec.canonical import loads
from repack.codec.decode import decode
from repack.conda.repodata import read_rows
from repack.errors import UsageError
from repack.fs import atomic, beneath
from repack.names import Digest
from repack.store.listing import list_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LIMIT: Final = 1 << 30
_DIGEST: Final = re.compile(rb"(?<![0-9A-Za-z])[0-9a-fA-F]{64}(?![0-9A-Za-z])")
_SUFFIXES: Final = {".json", ".yml", ".yaml", ".lock", ".txt"}


class Usage(Struct, frozen=True):
    """One archive as a channel names it."""

    fn: str
    labels: tuple[str, ...]


def read_digests(channels: Path) -> frozenset[Digest]:
    """Every digest that anything under ``channels`` names.

    Raises:
        UsageError: there is no such folder; an empty answer would sweep the whole store.
        PlaceError: a file cannot be read, so nobody can say what is still needed.
    """
    if not beneath.is_folder(beneath.guard(channels)):
        raise UsageError(
            "there are no channels here", where=channels, hint="name them with --channels-dir"
        )
    digests: set[bytes] = set()
    for path in _metadata_files(channels):
        digests.update(_DIGEST.findall(atomic.read(path, _LIMIT)))
    return frozenset(Digest(digest.decode()) for digest in digests)


def _metadata_files(channels: Path) -> Iterator[Path]:
    """Files that may name archives: of published channels, and of all that is kept of releases."""
    for channel in _labels(channels):
        for folder in _folders(list_folder(channel)):
            if folder.name == "repack":
                yield from _texts(folder)
            else:
                yield from (path for path in _texts(folder) if path.name == "repodata.json")
    for label in _folders(list_folder(channels / ".history")):
        for release in _folders(list_folder(label)):
            yield from _texts(release)
            for folder in _folders(list_folder(release)):
                yield from _texts(folder)


def _labels(channels: Path) -> list[Path]:
    return _folders(path for path in list_folder(channels) if not path.name.startswith("."))


def _folders(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if _is_folder(path)]


def _is_folder(path: Path) -> bool:
    # Path.is_dir() says no to a link that leads nowhere or in a circle, and to a stale share.
    with atomic.os_errors_at(path):
        return stat.S_ISDIR(beneath.status(path).st_mode)


def _texts(folder: Path) -> list[Path]:
    return [p for p in list_folder(folder) if p.suffix in _SUFFIXES and not _is_folder(p)]


def read_uses(channels: Path) -> dict[Digest, Usage]:
    """The file name of every archive of the published channels, and the labels that hold it.

    Raises:
        PlaceError: a repodata cannot be read.
        IntegrityError: a repodata is not one.
    """
    uses: dict[Digest, Usage] = {}
    folders = [folder for label in _labels(channels) for folder in _folders(list_folder(label))]
    paths = [p for folder in folders for p in _texts(folder) if p.name == "repodata.json"]
    for path in paths:
        label = path.parent.parent.name
        rows = read_rows(loads(atomic.read(path, _LIMIT), path, _LIMIT), path)
        for fn, row in rows.items():
            sha256 = decode(Digest, row.get("sha256"), path, f"record of {fn}")
            labels = {*(uses[sha256].labels if sha256 in uses else ()), label}
            uses[sha256] = Usage(fn=fn, labels=tuple(sorted(labels)))
    return uses
