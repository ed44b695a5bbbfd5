"""The release that is published now: how sound it is, and whether a draft differs from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from repack.channel import history, integrity, layout, manifest
from repack.channel.layout import INTEGRITY_PATH, MANIFEST, METADATA_DIR
from repack.channel.metadata_folder import newest, read_folder
from repack.conda.subdir import NOARCH, package_name
from repack.errors import IntegrityError
from repack.fs.walk import sizes
from repack.label.label import package_names
from repack.prove.proof import Proof
from repack.release.outcome import Outcome, platform_results
from repack.trust.sign import outlook

if TYPE_CHECKING:
    from repack.channel.folder import Channels
    from repack.channel.manifest import Manifest
    from repack.names import LabelName
    from repack.release.context import BuildContext
    from repack.release.draft import Draft
    from repack.release.outcome import PlatformResult, State
    from repack.store.store import Store

Soundness = Literal["whole", "unremembered", "damaged"]


class PublishedRelease(Struct, frozen=True):
    """The release that is published now.

    Attributes:
        soundness: ``damaged`` when a file is missing, too many or of the wrong size;
            ``unremembered`` when a build was cut off between publishing and keeping its history.
    """

    manifest: Manifest
    soundness: Soundness

    @property
    def release(self) -> int:
        """Its number."""
        return self.manifest.release

    @property
    def modes(self) -> dict[str, Any]:
        """Per subdir how it was proved."""
        modes = self.manifest.extra.get("proof")
        return dict(modes) if isinstance(modes, dict) else {}

    @property
    def packages(self) -> dict[str, str]:
        """Path -> SHA-256 of its packages."""
        return {a.path: a.sha256 or "" for a in self.manifest.artifacts}

    def platform_results(self, draft: Draft) -> dict[str, PlatformResult]:
        """What installs per subdir: what the draft holds and the numbered packages beside it."""
        own = package_names(draft.label)
        numbered = [
            artifact
            for artifact in self.manifest.artifacts
            if artifact.path not in draft.contents.items and package_name(artifact.path) in own
        ]
        proofs = {subdir: Proof(mode) for subdir, mode in self.modes.items()}
        results = platform_results(draft.contents, proofs)
        for subdir, result in results.items():
            sizes = [a.size for a in numbered if a.path.split("/")[0] in (NOARCH, subdir)]
            results[subdir] = replace(
                result, packages=result.packages + len(sizes), bytes=result.bytes + sum(sizes)
            )
        return results

    def is_whole_in(self, store: Store) -> bool:
        """Whether it needs no repair, or the store has every package that a repair takes."""
        return self.soundness != "damaged" or all(
            store.contains(artifact.sha256, artifact.size)
            for artifact in self.manifest.packages.values()
        )

    def serves(self, draft: Draft) -> bool:
        """Whether a build of ``draft`` would change nothing: same content, no weaker proof."""
        return self.manifest.extra.get("content") == draft.digest and all(
            self.modes.get(subdir) in ("linked", mode) for subdir, mode in draft.modes.items()
        )


def read_published(channels: Channels, label: LabelName) -> PublishedRelease | None:
    """The published release, or None when there is none that could be read."""
    data = channels.text(label, MANIFEST)
    read_paths = channels.text(label, INTEGRITY_PATH)
    if data is None or read_paths is None:
        return None
    try:
        published = manifest.parse(data, MANIFEST)
        entries = integrity.parse(read_paths, INTEGRITY_PATH)
        number = published.release
    except IntegrityError:
        # A damaged manifest is replaced by a new release, like every other damage.
        return None
    size_by_path = {
        path: size
        for path, size in sizes(channels.published(label)).items()
        if not layout.is_unlisted(path)
    }
    remembered = channels.remembered(label, number, MANIFEST)
    if size_by_path != {path: entry.size for path, entry in entries.items()}:
        return PublishedRelease(published, "damaged")
    if remembered is None:
        return PublishedRelease(published, "unremembered")
    sound = remembered == data and _is_signed(channels, label, number)
    return PublishedRelease(published, "whole" if sound else "damaged")


def _is_signed(channels: Channels, label: LabelName, number: int) -> bool:
    """Whether the metadata is as it was last signed; one that was never signed has none."""
    remembered = channels.history(label) / str(number) / METADATA_DIR
    published = read_folder(channels.published(label) / METADATA_DIR)
    return published == (newest(channels, label) if remembered.is_dir() else {})


def keep_published(published: PublishedRelease, draft: Draft, context: BuildContext) -> Outcome:
    """Leave the published release as it is, or put back what is damaged of it.

    Raises:
        ProofError: the label is strict, and there is something to warn of.
        FetchError: the release is damaged, and the store has lost some of its packages.
    """
    from repack.release.checks import check_scripts

    channels, name = context.channels, context.label.name
    state: State = "unchanged"
    if published.soundness == "unremembered":
        packages = frozenset(published.packages)
        channels.remember(name, published.release, history.texts(channels, name, packages))
    elif published.soundness == "damaged":
        tree = history.past_tree(channels, name, published.release, context.store)
        with channels.staged(name, tree):
            channels.publish(name, tree)
        context.progress.note(f"release {published.release} was damaged on disk; it is whole again")
        state = "repaired"
    metadata = read_folder(channels.published(name) / METADATA_DIR)
    return Outcome(
        label=name,
        state=state,
        release=published.release,
        channel=str(channels.published(name)),
        platforms=published.platform_results(draft),
        warnings=(
            *check_scripts(draft.contents, context.label),
            *outlook(metadata, context.settings.now, published.release),
        ),
    )


def next_number(channels: Channels, label: LabelName, published: PublishedRelease | None) -> int:
    """The number after every one that was ever given."""
    return max(0, *channels.releases(label), published.release if published else 0) + 1


def restored_release(
    channels: Channels, label: LabelName, published: PublishedRelease | None
) -> int | None:
    """The number of the published release when a newer one was made: then it was restored."""
    newest = max(channels.releases(label), default=0)
    return published.release if published and published.release < newest else None
