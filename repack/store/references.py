"""What the store must keep: every digest that a channel or its history names.

The metadata of a channel is searched as text for anything that looks like a SHA-256, instead of
being understood: so nothing is lost to a file format that this module does not know yet.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.conda.repodata import read_rows
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic
from repack.names import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LIMIT: Final = 1 << 30
_DIGEST: Final = re.compile(rb"(?<![0-9A-Za-z])[0-9a-fA-F]{64}(?![0-9A-Za-z])")
# Published channels, then releases: the packages of each subdir, then the label's own papers.
_TEXTS: Final = (
    "[!.]*/*/repodata.json",
    "[!.]*/repack/*",
    ".history/*/*/*/repodata.json",
    ".history/*/*/repack/*",
    ".history/*/*/*",
)
_SUFFIXES: Final = {".json", ".yml", ".yaml", ".lock", ".txt"}


class Usage(Struct, frozen=True):
    """One archive as a channel names it."""

    fn: str
    labels: tuple[str, ...]


def digests(channels: Path) -> frozenset[Digest]:
    """Every digest that anything under ``channels`` names.

    Raises:
        UsageError: there is no such folder; an empty answer would sweep the whole store.
        PlaceError: a file cannot be read, so nobody can say what is still needed.
    """
    if not channels.is_dir():
        raise UsageError(
            "there are no channels here", where=channels, hint="name them with --channels-dir"
        )
    found: set[bytes] = set()
    for path in _texts(channels):
        found.update(_DIGEST.findall(atomic.read(path, _LIMIT)))
    return frozenset(Digest(text.decode()) for text in found)


def _texts(channels: Path) -> Iterator[Path]:
    seen = {path for pattern in _TEXTS for path in channels.glob(pattern)}
    yield from sorted(path for path in seen if path.suffix in _SUFFIXES and path.is_file())


def uses(channels: Path) -> dict[Digest, Usage]:
    """The file name of every archive of the published channels, and the labels that hold it.

    Raises:
        PlaceError: a repodata cannot be read.
        IntegrityError: a repodata is not one.
    """
    found: dict[Digest, Usage] = {}
    for path in sorted(channels.glob("[!.]*/*/repodata.json")):
        label = path.parent.parent.name
        for fn, sha256 in _packages(path):
            before = found.get(sha256)
            labels = {*(before.labels if before else ()), label}
            found[sha256] = Usage(fn=fn, labels=tuple(sorted(labels)))
    return found


def _packages(path: Path) -> list[tuple[str, Digest]]:
    try:
        rows = read_rows(json.loads(atomic.read(path, _LIMIT)), path)
        return [(fn, Digest(row["sha256"])) for fn, row in rows.items()]
    except (ValueError, TypeError, KeyError) as error:
        raise IntegrityError("not a repodata", where=path) from error
