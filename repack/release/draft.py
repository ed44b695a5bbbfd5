"""A release before it has a number, the release that stands, and when the two are the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from repack.channel.install_plan import TARGET, TargetPolicy
from repack.channel.manifest import Artifact, Manifest, Release
from repack.codec.canonical import canonical
from repack.conda.subdir import NOARCH, package_name
from repack.file_entry import FileEntry
from repack.names import Digest384
from repack.prove.proof import Proof
from repack.release.outcome import PlatformResult

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from repack.channel.contents import ChannelContents
    from repack.conda.record import Record
    from repack.names import LabelName, RelPath
    from repack.settings import Mode

Soundness = Literal["whole", "unremembered", "damaged"]


class Draft(Struct, frozen=True):
    """Everything of a release that does not depend on its number or its moment.

    Attributes:
        shipment: all packages but those that carry the number.
        texts: metadata files that do not depend on the number, by path in the channel.
        roots: per subdir the packages that the label itself names.
        modes: per subdir how it is going to be proved.
        signers: which keys sign; other keys make another release.
        wishes: what the label asks of a target.
        policy: which licences are taken; another policy is judged, and told, in another release.
    """

    label: LabelName
    shipment: ChannelContents
    texts: Mapping[RelPath, bytes]
    roots: Mapping[str, tuple[Record, ...]]
    modes: Mapping[str, Mode]
    signers: tuple[str, ...] = ()
    wishes: TargetPolicy = field(default_factory=TargetPolicy)
    policy: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """One SHA-256 over all of it: two drafts with the same content are the same release."""
        records = {
            path: {**item.record.raw, "sha256": item.record.sha256}
            for path, item in self.shipment.items.items()
        }
        document: dict[str, object] = {
            "label": self.label,
            "records": records,
            "roots": {subdir: [r.path for r in group] for subdir, group in self.roots.items()},
            "signers": list(self.signers),
            TARGET: self.wishes.to_json(),
            "texts": {path: hashlib.sha256(data).hexdigest() for path, data in self.texts.items()},
        }
        if self.policy:
            document["policy"] = list(self.policy)
        return hashlib.sha256(canonical(document)).hexdigest()

    def release(self, number: int, generated_at: str) -> Release:
        """This draft as release ``number``."""
        return Release(
            label=self.label,
            number=number,
            platforms=tuple(sorted(self.modes)),
            generated_at=generated_at,
            facts={
                "content": self.content,
                "proof": dict(self.modes),
                TARGET: self.wishes.to_json(),
            },
        )


def artifacts(shipment: ChannelContents) -> tuple[Artifact, ...]:
    """The packages as the manifest lists them."""
    return tuple(
        Artifact(
            path=path,
            size=item.record.size,
            sha256=item.record.sha256,
            sha384=Digest384(item.facts.sha384) if item.facts.sha384 else None,
        )
        for path, item in shipment.items.items()
    )


def contents(shipment: ChannelContents, texts: Mapping[RelPath, bytes]) -> tuple[FileEntry, ...]:
    """Every file of a channel, for the integrity list."""
    packages = [FileEntry(p, i.record.size, i.record.sha256) for p, i in shipment.items.items()]
    written = [FileEntry.of_bytes(path, data) for path, data in texts.items()]
    return (*packages, *written)


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

    def platforms(
        self, shipment: ChannelContents, own: Collection[str]
    ) -> dict[str, PlatformResult]:
        """What installs per subdir: what the draft holds and the numbered packages beside it."""
        numbered = [
            artifact
            for artifact in self.manifest.artifacts
            if artifact.path not in shipment.items and package_name(artifact.path) in own
        ]
        found = platforms(shipment, {s: Proof(mode) for s, mode in self.modes.items()})
        for subdir, platform in found.items():
            mine = [a for a in numbered if a.path.split("/")[0] in (NOARCH, subdir)]
            size = platform.bytes + sum(artifact.size for artifact in mine)
            found[subdir] = replace(platform, packages=platform.packages + len(mine), bytes=size)
        return found

    def serves(self, draft: Draft) -> bool:
        """Whether a build of ``draft`` would change nothing: same content, no weaker proof."""
        return self.manifest.extra.get("content") == draft.content and all(
            self.modes.get(subdir) in ("linked", mode) for subdir, mode in draft.modes.items()
        )


def platforms(shipment: ChannelContents, proofs: Mapping[str, Proof]) -> dict[str, PlatformResult]:
    """What installs per subdir, and how that is proved."""
    found = {}
    for subdir, records in shipment.records_by_subdir.items():
        reach = shipment.reach(subdir)
        found[subdir] = PlatformResult(
            packages=len(records),
            bytes=sum(record.size for record in records),
            proof=proofs[subdir],
            longest_prefix=reach.longest_prefix if reach else None,
        )
    return found
