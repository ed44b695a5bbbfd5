"""What a plain delta that was unpacked by ``tar`` leaves in a channel.

``tar`` removes nothing, so the files of the release before that the new one no longer has stay where
they are. The delta's manifest stays as well, as ``.repack-delta-N.json``, and lists them. They are
no fault of the channel: nothing names them. ``repack/verify.py --tidy`` removes them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from repack.channel.manifest import MAX_BYTES, parse
from repack.errors import RepackError
from repack.fs import atomic, beneath
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.keys.shared_key import SharedKey

_LIST: Final = re.compile(r"\.repack-delta(?:-[0-9]+)?\.json")
_FIELD: Final = "delta"


def list_name(release: str) -> RelPath:
    """The manifest of the plain delta to a release, inside the channel; readers ignore it."""
    return RelPath(f".repack-delta-{release}.json")


_DATA: Final = re.compile(
    r"[a-z0-9-]+/[^/\\:]+\.(conda|tar\.bz2|json|json\.(zst|bz2))|repack/explicit-[a-z0-9-]+\.txt"
    r"|bootstrap/[a-z0-9-]+/[^/\\:]+-environment\.tar\.gz"
    r"|repack/releases/[1-9][0-9]*/manifest\.json"
)
"""What a list that was not checked may call left over: what repack writes and nobody starts."""


def leftover_paths(channel: Path, label: str, key: SharedKey | None) -> frozenset[str]:
    """The files that plain deltas for this label no longer have.

    A list that cannot be read, is another label's, or is not signed by ``key``, counts for nothing:
    what it names is reported as extra.

    Raises:
        PlaceError: the folder cannot be read.
    """
    with atomic.os_errors_at(channel):
        names = [e.name for e in beneath.scan(channel) if _LIST.fullmatch(e.name)]
    return frozenset(path for name in names for path in _dropped(channel / name, label, key))


def _dropped(path: Path, label: str, key: SharedKey | None) -> Iterator[str]:
    try:
        manifest = parse(atomic.read(path, MAX_BYTES), path)
        if key is not None:
            manifest.check(key, path)
    except RepackError:
        return
    delta = manifest.extra.get(_FIELD)
    dropped = delta.get("dropped") if isinstance(delta, dict) else None
    if manifest.id == label and isinstance(dropped, list):
        names = (name for name in dropped if isinstance(name, str))
        yield from (name for name in names if key is not None or _DATA.fullmatch(name))
