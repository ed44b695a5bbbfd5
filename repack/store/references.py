"""What the store must keep: every digest that a channel or its history names.

The metadata of a channel is searched as text for anything that looks like a SHA-256, and not
parsed: so nothing is swept because of a file format that this module does not know yet.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.codec.canonical import loads
from repack.codec.decode import decode
from repack.conda.repodata import read_rows
from repack.errors import UsageError
from repack.fs import atomic
from repack.names import Digest

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT: Final = 1 << 30
_DIGEST: Final = re.compile(rb"(?<![0-9A-Za-z])[0-9a-fA-F]{64}(?![0-9A-Za-z])")
# Published channels, then releases: the packages of each subdir, then the label's own files.
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


def read_digests(channels: Path) -> frozenset[Digest]:
    """Every digest that anything under ``channels`` names.

    Raises:
        UsageError: there is no such folder; an empty answer would sweep the whole store.
        PlaceError: a file cannot be read, so nobody can say what is still needed.
    """
    if not channels.is_dir():
        raise UsageError(
            "there are no channels here", where=channels, hint="name them with --channels-dir"
        )
    digests: set[bytes] = set()
    texts = {path for pattern in _TEXTS for path in channels.glob(pattern)}
    for path in texts:
        if path.suffix in _SUFFIXES and path.is_file():
            digests.update(_DIGEST.findall(atomic.read(path, _LIMIT)))
    return frozenset(Digest(digest.decode()) for digest in digests)


def read_uses(channels: Path) -> dict[Digest, Usage]:
    """The file name of every archive of the published channels, and the labels that hold it.

    Raises:
        PlaceError: a repodata cannot be read.
        IntegrityError: a repodata is not one.
    """
    uses: dict[Digest, Usage] = {}
    for path in sorted(channels.glob("[!.]*/*/repodata.json")):
        label = path.parent.parent.name
        rows = read_rows(loads(atomic.read(path, _LIMIT), path, _LIMIT), path)
        for fn, row in rows.items():
            sha256 = decode(Digest, row.get("sha256"), path, f"record of {fn}")
            labels = {*(uses[sha256].labels if sha256 in uses else ()), label}
            uses[sha256] = Usage(fn=fn, labels=tuple(sorted(labels)))
    return uses
