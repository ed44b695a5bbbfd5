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
from repack.codec.sha256sums import MAX_SUMS, SUMS, parse_sums
from repack.errors import IntegrityError, PlaceError
from repack.fs import atomic, beneath
from repack.fs.inventory import intact_paths
from repack.fs.litter import is_litter
from repack.fs.walk import read_or_none
from repack.medium.contents import ListedRelease
from repack.sync.copy import RateLimit, copy_file
from repack.trust.summary import summarize_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from repack.channel.manifest import Artifact, Manifest
    from repack.file_entry import FileEntry
    from repack.names import Digest, RelPath


def channels(root: Path) -> list[Path]:
    """The channels on a medium."""
    with atomic.os_errors_at(root):
        beneath.guard(root)
        names = [e.name for e in beneath.scan_if_there(root) if e.kind == "folder"]
        return [root / name for name in names if _has_manifest(root / name)]


def _has_manifest(folder: Path) -> bool:
    """Whether a folder is a channel; what else lies on a medium may be kept from us."""
    try:
        return beneath.is_file(folder / MANIFEST)
    except PlaceError:
        if folder.name.startswith((".", "$")) or is_litter(folder.name):
            return False  # such as lost+found's relatives: systems' own, which only root may read
        raise


def same_medium(root: Path, channel: Path, files: Mapping[RelPath, FileEntry]) -> dict[str, Path]:
    """Packages of ``files`` that other channels of the medium hold already, by path."""
    path_by_content: dict[tuple[str, int], Path] = {}
    for artifact, path in _packages_of_others(root, channel):
        if artifact.sha256 and _has_size(path, artifact.size):
            path_by_content.setdefault((artifact.sha256, artifact.size), path)
    return {
        path: path_by_content[entry.sha256, entry.size]
        for path, entry in files.items()
        if (entry.sha256, entry.size) in path_by_content
    }


def _has_size(path: Path, size: int) -> bool:
    with atomic.os_errors_at(path):
        return beneath.is_file(path) and beneath.status(path).st_size == size


def moved_to(root: Path, channel: Path) -> dict[str, Path]:
    """Where packages of ``channel`` must go, once it needs them no more, because others do."""
    destinations: dict[str, Path] = {}
    for artifact, path in _packages_of_others(root, channel):
        if not beneath.exists(path):
            destinations.setdefault(artifact.path, path)
    return destinations


def _packages_of_others(root: Path, channel: Path) -> Iterator[tuple[Artifact, Path]]:
    """The packages of all releases of the other channels, and where each belongs."""
    for folder in channels(root):
        if folder != channel:
            for manifest, _ in manifests(folder):
                for artifact in manifest.artifacts:
                    yield artifact, folder / artifact.path


def inventory(root: Path) -> list[ListedRelease]:
    """Every release on a medium, for the checklist."""
    return [
        _list_release(channel, manifest, data)
        for channel in channels(root)
        for manifest, data in manifests(channel)
    ]


def _list_release(channel: Path, manifest: Manifest, data: bytes) -> ListedRelease:
    metadata = channel / layout.METADATA_DIR
    summary = summarize_metadata(read_folder(metadata))
    # Production is named where both sign, because it says more than ci.
    signed_for = "nobody"
    for role, tags in summary.signed_for(manifest.release).items():
        signed_for = ", tags ".join((role, *filter(None, [", ".join(tags)])))
    if manifest.release in summary.recalled:
        signed_for = "nobody any more: recalled"
    expires = min(summary.expiries.values(), default="unknown")[:10]
    platform = manifest.platform
    platforms = (platform,) if isinstance(platform, str) else platform
    return ListedRelease(
        label=manifest.id,
        release=manifest.release,
        platforms=tuple(name for name in platforms if name != "noarch"),
        packages=len(manifest.artifacts),
        bytes=sum(artifact.size for artifact in manifest.artifacts),
        sha256=hashlib.sha256(data).hexdigest(),
        signed_for=signed_for,
        expires=expires if beneath.is_folder(metadata) else "unsigned",
    )


def read_sums(folder: Path) -> dict[str, Digest]:
    """The digests in a folder's ``SHA256SUMS``, by file name; none if there is no such file.

    Raises:
        IntegrityError: it is malformed.
    """
    return parse_sums(read_or_none(folder / SUMS, MAX_SUMS) or b"", folder / SUMS)


def put_file(root: Path, entry: FileEntry, source: Path, limit: RateLimit) -> None:
    """Copy a file to its place on a medium, unless it lies there already and is right.

    Raises:
        IntegrityError: the source is not what it should be.
        SpaceError: the medium is full.
        PlaceError: it cannot be written, or was pulled.
    """
    if intact_paths(root, [entry], _ignore):
        return
    path = root / entry.path
    temp = path.with_name(f"{atomic.TEMP_PREFIX}{path.name}")
    copy_file(source, temp, entry, limit, _ignore)
    atomic.flush([temp])
    with atomic.os_errors_at(path):
        atomic.rename(temp, path)


def check_written(root: Path, entries: Sequence[FileEntry]) -> None:
    """Read files on a medium back.

    Raises:
        IntegrityError: one is not what was written.
    """
    intact = intact_paths(root, entries, _ignore)
    if bad := sorted({entry.path for entry in entries} - intact):
        raise IntegrityError(
            "the medium does not hold what was written to it",
            where=root,
            got=", ".join(bad[:5]),
            hint="take another medium",
        )


def _ignore(_count: int) -> None:
    """For files that have no progress of their own."""
