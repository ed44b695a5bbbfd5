"""The channels that a lock or environment file names, for a label that is begun from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.codec.document import parse_document
from repack.codec.tree import Items, Scalar, Table
from repack.inputs.source import MAX_SOURCE, as_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.codec.tree import Node

# Where the formats keep them: environment.yml, pixi.lock, conda-lock.yml.
_PATHS: Final = (
    ("channels",),
    ("environments", "default", "channels"),
    ("metadata", "channels"),
)
_NO_CHANNELS: Final = frozenset({"nodefaults", "defaults"})


def read_source_channels(data: bytes, where: str) -> tuple[str, ...]:
    """URLs or names in the file's order; none where it says none, as an explicit list.

    Raises:
        LabelError: it is no YAML or JSON.
    """
    data = as_utf8(data)
    if b"@EXPLICIT" in data:
        return ()
    tree = parse_document(data, where, MAX_SOURCE)
    for path in _PATHS:
        node: Node | None = tree
        for key in path:
            node = node.get(key) if isinstance(node, Table) else None
        if channels := tuple(dict.fromkeys(_texts(node))):
            return channels
    return ()


def _texts(node: Node | None) -> Iterator[str]:
    for value in node.values if isinstance(node, Items) else ():
        entry = value.get("url") if isinstance(value, Table) else value
        if isinstance(entry, Scalar) and entry.text not in _NO_CHANNELS:
            yield entry.text.rstrip("/")
