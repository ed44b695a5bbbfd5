"""What a build did, for the command line and for callers of :func:`repack.build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.channel.contents import ChannelContents
    from repack.old_conda.records import ConversionChange
    from repack.prove.proof import Proof
    from repack.report.document import Difference, SettingChange

State = Literal["published", "unchanged", "repaired", "previewed"]


class PlatformResult(Struct, frozen=True):
    """One subdir of a release.

    Attributes:
        packages: how many install there.
        bytes: of their archives.
        proof: how it was proved.
        longest_prefix: characters a prefix may have on Windows without long paths; None elsewhere.
    """

    packages: int
    bytes: int
    proof: Proof
    longest_prefix: int | None = None

    def to_json(self) -> dict[str, object]:
        """The row of ``platforms``."""
        row: dict[str, object] = {
            "packages": self.packages,
            "bytes": self.bytes,
            "proof": self.proof.mode,
        }
        if self.longest_prefix is not None:
            row["longest_prefix"] = self.longest_prefix
        return row


class Outcome(Struct, frozen=True):
    """What a build did.

    Attributes:
        release: the number of the release the channel now is; 0 when none was ever made.
        channel: the folder, as text.
        added: paths in the channel that the release before did not have.
        removed: paths that went.
        since: the release that was compared with; None when there is none.
        differences: the same as ``added`` and ``removed``, package by package.
        new_bytes: what somebody who has that release needs of this one.
        settings: what the label says otherwise than in release ``since``.
        would_change: of a preview, whether a build would publish a release.
        next_release: of a preview, the number which that would have.
        changes: how packages were changed on the way.
        archives: whether every archive was hashed by this build, or size and time were believed.
        warnings: what a release engineer should know; errors when the label is ``strict``.
    """

    label: str
    state: State
    release: int
    channel: str
    platforms: Mapping[str, PlatformResult]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    since: int | None = None
    differences: tuple[Difference, ...] = ()
    new_bytes: int = 0
    bytes_fetched: int = 0
    seconds: float = 0.0
    settings: tuple[SettingChange, ...] = ()
    would_change: bool = False
    next_release: int | None = None
    changes: tuple[ConversionChange, ...] = ()
    archives: Literal["read", "believed"] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is, or in a preview would be, a new release."""
        return self.state == "published" or self.would_change

    def to_json(self) -> dict[str, object]:
        """The document ``repack label --json`` prints."""
        from repack.old_conda.records import changes_json

        platforms = {subdir: platform.to_json() for subdir, platform in self.platforms.items()}
        return {
            "label": self.label,
            "release": self.release or None,
            "changed": self.changed,
            "channel": self.channel,
            "platforms": platforms,
            "added": list(self.added),
            "removed": list(self.removed),
            "settings": [
                {"what": c.what, "before": c.before, "after": c.after} for c in self.settings
            ],
            "next_release": self.next_release,
            "bytes_fetched": self.bytes_fetched,
            "seconds": round(self.seconds, 3),
            "archives": self.archives,
            "changes": changes_json(self.changes),
            "warnings": list(self.warnings),
        }


def platform_results(
    contents: ChannelContents, proofs: Mapping[str, Proof]
) -> dict[str, PlatformResult]:
    """What installs per subdir, and how that is proved."""
    results = {}
    for subdir, records in contents.records_by_subdir.items():
        lengths = contents.reach(subdir)
        results[subdir] = PlatformResult(
            packages=len(records),
            bytes=sum(record.size for record in records),
            proof=proofs[subdir],
            longest_prefix=lengths.longest_prefix if lengths else None,
        )
    return results
