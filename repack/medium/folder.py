"""A medium as a folder that is written: channels side by side, several releases in each.

What is read back from a medium is checked against the manifest that lists it, whatever wrote it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from repack.channel import layout
from repack.channel.layout import MANIFEST
from repack.channel.metadata_folder import read_folder
from repack.channel.releases import manifests
from repack.codec import sha256sums
from repack.fs import atomic
from repack.fs.walk import read_or_none
from repack.medium.contents import INSTALLERS, ListedRelease
from repack.trust.summary import summarize_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.channel.manifest import Manifest
    from repack.file_entry import FileEntry
    from repack.names import RelPath


def channels(root: Path) -> list[Path]:
    """The channels on a medium."""
    with atomic.os_errors_at(root):
        there = sorted(root.iterdir()) if root.is_dir() else []
    return [folder for folder in there if (folder / MANIFEST).is_file()]


def same_medium(root: Path, channel: Path, wanted: Mapping[RelPath, FileEntry]) -> dict[str, Path]:
    """Packages of ``wanted`` that other channels of the medium hold already, by path."""
    there: dict[tuple[str, int], Path] = {}
    for other in channels(root):
        if other != channel:
            for found, _ in manifests(other):
                for row in found.artifacts:
                    place = other / row.path
                    if row.sha256 and place.is_file() and place.stat().st_size == row.size:
                        there.setdefault((row.sha256, row.size), place)
    return {
        path: there[piece.sha256, piece.size]
        for path, piece in wanted.items()
        if (piece.sha256, piece.size) in there
    }


def moved_to(root: Path, channel: Path) -> dict[str, Path]:
    """Where packages of ``channel`` must go, once it needs them no more, because others do."""
    wanted: dict[str, Path] = {}
    for other in channels(root):
        if other != channel:
            for found, _ in manifests(other):
                for row in found.artifacts:
                    if not (other / row.path).exists():
                        wanted.setdefault(row.path, other / row.path)
    return wanted


def inventory(root: Path) -> list[ListedRelease]:
    """Every release on a medium, for the checklist."""
    return [
        _shown(channel, found, data)
        for channel in channels(root)
        for found, data in manifests(channel)
    ]


def _shown(channel: Path, found: Manifest, data: bytes) -> ListedRelease:
    metadata = channel / layout.METADATA_DIR
    summary = summarize_metadata(read_folder(metadata))
    # Production is named where both sign, because it says more than ci.
    signed_for = "nobody"
    for role, tags in summary.signed_for(found.release).items():
        signed_for = ", tags ".join((role, *filter(None, [", ".join(tags)])))
    expires = min(summary.expiries.values(), default="unknown")[:10]
    platforms = (found.platform,) if isinstance(found.platform, str) else found.platform
    return ListedRelease(
        label=found.id,
        release=found.release,
        platforms=tuple(name for name in platforms if name != "noarch"),
        packages=len(found.artifacts),
        bytes=sum(row.size for row in found.artifacts),
        sha256=hashlib.sha256(data).hexdigest(),
        signed_for=signed_for,
        expires=expires if metadata.is_dir() else "unsigned",
    )


def installers(root: Path) -> dict[str, str]:
    """SHA-256 of every installer on a medium, by file name."""
    data = read_or_none(root / INSTALLERS / sha256sums.SUMS) or b""
    return dict(sha256sums.parse_sums(data, root / INSTALLERS / sha256sums.SUMS))
