"""A release: what a channel is at one moment, and when two of them are the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repack.model.canonical import canonical
from repack.model.manifest import Artifact, Manifest
from repack.model.names import Digest384
from repack.model.outcome import Platform, Proof

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.model.names import LabelName, RelPath
    from repack.model.outcome import Mode
    from repack.model.shipment import Shipment


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything of a release that does not depend on its number or its moment.

    Attributes:
        texts: metadata files by path in the channel.
        modes: per subdir how it is going to be proved.
    """

    label: LabelName
    shipment: Shipment
    texts: Mapping[RelPath, bytes]
    modes: Mapping[str, Mode]

    @property
    def content(self) -> str:
        """One SHA-256 over all of it: two drafts with the same content are the same release."""
        document = {
            "label": self.label,
            "packages": {path: i.record.sha256 for path, i in self.shipment.items.items()},
            "texts": {path: hashlib.sha256(data).hexdigest() for path, data in self.texts.items()},
        }
        return hashlib.sha256(canonical(document)).hexdigest()

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The packages as the manifest lists them."""
        return tuple(
            Artifact(
                path=path,
                size=item.record.size,
                sha256=item.record.sha256,
                sha384=Digest384(item.facts.sha384) if item.facts.sha384 else None,
            )
            for path, item in self.shipment.items.items()
        )

    def platforms(self) -> dict[str, Platform]:
        """What installs per subdir, with the proof as planned."""
        return {
            subdir: Platform(
                packages=len(records),
                bytes=sum(record.size for record in records),
                proof=Proof(self.modes[subdir]),
            )
            for subdir, records in self.shipment.installs.items()
        }

    def head(self, release: int, generated_at: str) -> Manifest:
        """The manifest of this draft as release ``release``, without artifacts."""
        return Manifest(
            id=self.label,
            version=str(release),
            platform=self.shipment.subdirs,
            artifacts=(),
            generated_at=generated_at,
            extra={"content": self.content, "proof": dict(self.modes)},
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """The release that is published now.

    Attributes:
        whole: whether every file is there, none too many, and each of the right size.
    """

    manifest: Manifest
    whole: bool

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

    def serves(self, draft: Draft) -> bool:
        """Whether a build of ``draft`` would change nothing: same content, no weaker proof."""
        return (
            self.whole
            and self.manifest.extra.get("content") == draft.content
            and all(
                self.modes.get(subdir) in ("linked", mode) for subdir, mode in draft.modes.items()
            )
        )
