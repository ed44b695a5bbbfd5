"""Release: what stands published, and what it takes to compare a draft with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repack.channel import integrity, layout, manifest
from repack.channel.layout import INTEGRITY_PATH, MANIFEST, METADATA_DIR
from repack.channel.metadata_folder import newest, read_folder
from repack.errors import IntegrityError
from repack.fs.walk import sizes
from repack.release.draft import PublishedRelease

if TYPE_CHECKING:
    from pathlib import Path

    from repack.channel.folder import Channels
    from repack.file_entry import FileEntry
    from repack.names import LabelName, RelPath


def read_published(channels: Channels, label: LabelName) -> PublishedRelease | None:
    """The published release, or None when there is none that could be read."""
    data = channels.text(label, MANIFEST)
    listed = channels.text(label, INTEGRITY_PATH)
    if data is None or listed is None:
        return None
    try:
        found = manifest.parse(data, MANIFEST)
        entries = integrity.parse(listed, INTEGRITY_PATH)
        number = found.release
    except IntegrityError:
        # A damaged manifest is replaced by a new release, like every other damage.
        return None
    remembered = channels.remembered(label, number, MANIFEST)
    if not _whole(channels.published(label), entries) or remembered not in (None, data):
        return PublishedRelease(found, "damaged")
    if remembered is None:
        return PublishedRelease(found, "unremembered")
    return PublishedRelease(found, "whole" if _is_signed(channels, label, number) else "damaged")


def _whole(folder: Path, entries: dict[RelPath, FileEntry]) -> bool:
    there = {path: size for path, size in sizes(folder).items() if not layout.is_unlisted(path)}
    return there == {path: entry.size for path, entry in entries.items()}


def _is_signed(channels: Channels, label: LabelName, number: int) -> bool:
    """Whether the metadata is as it was last signed; one that was never signed has none."""
    remembered = channels.history(label) / str(number) / METADATA_DIR
    published = read_folder(channels.published(label) / METADATA_DIR)
    return published == (newest(channels, label) if remembered.is_dir() else {})


def next_number(channels: Channels, label: LabelName, before: PublishedRelease | None) -> int:
    """The number after every one that was ever given."""
    return max(0, *channels.releases(label), before.release if before else 0) + 1
