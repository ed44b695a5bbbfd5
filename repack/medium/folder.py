"""A medium as a folder that is written: channels side by side, several releases in each.

What is read back from a medium is checked against the manifest that lists it, whatever wrote it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from repack.channel import layout
from repack.channel.layout import MANIFEST
from repack.channel.releases import manifests
from repack.codec import sha256sums
from repack.fs import atomic
from repack.fs.walk import read_or_none
from repack.medium.contents import INSTALLERS, ListedRelease

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.channel.manifest import Manifest
    from repack.file_entry import FileEntry
    from repack.names import RelPath

_ROLES: Final = ("production", "ci")


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
    signed_for = "nobody"
    expires = "unsigned"
    for role in _ROLES:
        document = _json(metadata / f"{role}.json")
        targets = document.get("targets", {})
        row = targets.get(f"releases/{found.release}/manifest.json")
        if row is not None:
            tags = ", ".join(row.get("custom", {}).get("tags", ()))
            signed_for = f"{role}{f', tags {tags}' if tags else ''}"
            break
    dates = [_json(path).get("expires", "") for path in sorted(metadata.glob("*.json"))]
    if metadata.is_dir():
        expires = min((date[:10] for date in dates if date), default="unknown")
    platforms = (found.platform,) if isinstance(found.platform, str) else found.platform
    return ListedRelease(
        label=found.id,
        release=found.release,
        platforms=tuple(name for name in platforms if name != "noarch"),
        packages=len(found.artifacts),
        bytes=sum(row.size for row in found.artifacts),
        sha256=hashlib.sha256(data).hexdigest(),
        signed_for=signed_for,
        expires=expires,
    )


def _json(path: Path) -> dict[str, Any]:
    """The signed part of a metadata file; only shown, so nothing is checked here."""
    try:
        signed = json.loads(read_or_none(path) or b"{}").get("signed", {})
    except (ValueError, AttributeError, RecursionError):
        return {}
    return signed if isinstance(signed, dict) else {}


def installers(root: Path) -> dict[str, str]:
    """SHA-256 of every installer on a medium, by file name."""
    data = read_or_none(root / INSTALLERS / sha256sums.SUMS) or b""
    return dict(sha256sums.parse_sums(data, root / INSTALLERS / sha256sums.SUMS))
