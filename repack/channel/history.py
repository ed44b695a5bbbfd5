"""A label's past releases: which are kept, and their channels from metadata and store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.channel import manifest
from repack.channel.folder import ChannelTree
from repack.channel.layout import MANIFEST, METADATA_DIR
from repack.channel.metadata_folder import newest
from repack.errors import FetchError, UsageError
from repack.fs import atomic
from repack.fs.walk import sizes
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from repack.channel.folder import Channels
    from repack.channel.manifest import Manifest
    from repack.names import LabelName
    from repack.store.store import Store


_LIMIT: Final = 256 << 20


class HistoryEntry(Struct, frozen=True):
    """A release in a label's history; ``published`` when it is the one that stands now."""

    manifest: Manifest
    published: bool

    def to_json(self) -> dict[str, object]:
        """The row ``repack history --json`` prints."""
        return {
            "release": self.manifest.release,
            "generated_at": self.manifest.generated_at,
            "packages": len(self.manifest.artifacts),
            "bytes": sum(artifact.size for artifact in self.manifest.artifacts),
            "published": self.published,
        }


def history(channels: Channels, label: LabelName) -> tuple[HistoryEntry, ...]:
    """The releases whose metadata is kept, oldest first.

    Raises:
        UsageError: there is none.
        IntegrityError: a manifest is damaged.
    """
    if not channels.releases(label):
        raise UsageError(
            f"no release of label {label!r} is kept",
            where=channels.history(label),
            hint=f"build one with: repack label {label}",
        )
    current = channels.text(label, MANIFEST)
    return tuple(
        HistoryEntry(release, published=data == current)
        for release, data in _past_manifests(channels, label)
    )


def _past_manifests(channels: Channels, label: LabelName) -> Iterator[tuple[Manifest, bytes]]:
    for number in channels.releases(label):
        path = channels.history(label) / str(number) / MANIFEST
        data = channels.remembered(label, number, MANIFEST) or b""
        yield manifest.parse(data, path), data


def past_tree(channels: Channels, label: LabelName, release: int, store: Store) -> ChannelTree:
    """Everything release ``release`` consisted of.

    Raises:
        UsageError: it is not kept.
        FetchError: the store has lost some of its packages.
    """
    if release not in channels.releases(label):
        kept = ", ".join(map(str, channels.releases(label))) or "none"
        raise UsageError(f"release {release} of label {label!r} is not kept", expected=kept)
    texts = channels.recall(label, release)
    path = channels.history(label) / str(release)
    entries = manifest.parse(texts[RelPath(MANIFEST)], path).packages.values()
    missing = [entry.path for entry in entries if not store.contains(entry.sha256, entry.size)]
    if missing:
        raise FetchError(
            f"{len(missing)} packages of release {release} are not in the store any more",
            where=store.root,
            got=", ".join(missing[:5]),
            hint="`repack store gc` keeps what history names; build the label anew",
        )
    # Versions of signed metadata never go back, or targets would refuse them as a replay.
    signed = {path for path in texts if path.startswith(f"{METADATA_DIR}/")}
    texts = {path: data for path, data in texts.items() if path not in signed}
    if signed:
        group = newest(channels, label)
        texts |= {RelPath(f"{METADATA_DIR}/{name}"): data for name, data in group.items()}
    packages = {entry.path: store.path(entry.sha256) for entry in entries}
    return ChannelTree(packages, texts)


def past_packages(channels: Channels, label: LabelName) -> dict[str, str]:
    """Path -> SHA-256 of every package that a kept release published.

    Raises:
        IntegrityError: a manifest in the history is damaged.
    """
    return {
        path: entry.sha256
        for release, _ in _past_manifests(channels, label)
        for path, entry in release.packages.items()
    }


def texts(channels: Channels, label: LabelName, packages: Collection[str]) -> dict[RelPath, bytes]:
    """Every metadata file of the published channel, by path."""
    folder = channels.published(label)
    return {
        RelPath(path): atomic.read(folder / path, _LIMIT)
        for path in sizes(folder)
        if path not in packages
    }
