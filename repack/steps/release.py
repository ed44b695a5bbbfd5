"""Release: what stands published, and what the next release adds to a draft."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repack.errors import IntegrityError
from repack.model import integrity, manifest
from repack.model.channel import MANIFEST
from repack.model.names import Digest, RelPath
from repack.model.draft import Draft, Standing
from repack.places.channel import Tree, sizes

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from repack.model.names import LabelName
    from repack.places.channel import Channels
    from repack.places.store import Store


@dataclass(frozen=True, slots=True)
class Release:
    """A release ready to be staged."""

    number: int
    tree: Tree


def standing(channels: Channels, label: LabelName) -> Standing | None:
    """The published release, or None when there is none that could be read."""
    data = channels.text(label, MANIFEST)
    listed = channels.text(label, integrity.INTEGRITY_PATH)
    if data is None or listed is None:
        return None
    try:
        found = manifest.parse(data, MANIFEST)
        entries = integrity.parse(listed, integrity.INTEGRITY_PATH)
        number = found.release
    except IntegrityError:
        # A damaged manifest is replaced by a new release, like every other damage.
        return None
    remembered = channels.remembered(label, number, MANIFEST)
    whole = remembered == data and _whole(channels.published(label), entries)
    return Standing(found, whole)


def _whole(folder: Path, entries: dict[RelPath, integrity.Entry]) -> bool:
    there = {path: size for path, size in sizes(folder).items() if not integrity.is_unlisted(path)}
    return there == {path: entry.size for path, entry in entries.items()}


def next_number(channels: Channels, label: LabelName, before: Standing | None) -> int:
    """The number after every one that was ever given."""
    return max(0, *channels.releases(label), before.release if before else 0) + 1


def make(draft: Draft, number: int, moment: dt.datetime, store: Store) -> Release:
    """Give ``draft`` its number: the tree with integrity list and manifest."""
    packages = {path: store.path(item.record.sha256) for path, item in draft.shipment.items.items()}
    entries = [
        integrity.Entry(path, item.record.sha256, item.record.size)
        for path, item in draft.shipment.items.items()
    ]
    entries += [
        integrity.Entry(path, _sha256(data), len(data)) for path, data in draft.texts.items()
    ]
    listed = integrity.to_bytes(entries)
    head = draft.head(number, moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
    reference = manifest.IntegrityRef(integrity.INTEGRITY_PATH, _sha256(listed))
    signed = manifest.build(head, draft.artifacts, reference)
    texts = {
        **draft.texts,
        integrity.INTEGRITY_PATH: listed,
        RelPath(MANIFEST): signed.to_bytes(),
    }
    return Release(number, Tree(packages, texts))


def _sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())
