"""What a medium carries besides channels for a site that has neither network nor conda at hand.

```
oem/LABEL/core-oem-RELEASE-PLATFORM.tar.gz   the channel for one platform, in one file
oem/LABEL/LABEL-OLD-NEW.delta.tar.zst        for devices that have release OLD
oem/LABEL/oem_installation.md                the checklist for label, release and device
oem/LABEL/SHA256SUMS
notary/LABEL-RELEASE.json  .intoto.json      who built it from what, signed
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from repack.channel.layout import publish_rank
from repack.medium.contents import OEM
from repack.names import PLATFORMS, RelPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.license.fingerprint import Fingerprint
    from repack.medium.contents import Written
    from repack.names import Digest, LabelName
    from repack.sync.plan import Cargo, Piece

CHECKLIST: Final = "oem_installation.md"


def folder(label: LabelName) -> RelPath:
    """Where a label's files lie."""
    return RelPath(f"{OEM}/{label}")


def bundle_path(label: LabelName, release: int, platform: str) -> RelPath:
    """Where the whole release for one platform lies."""
    return RelPath(f"{folder(label)}/core-oem-{release}-{platform}.tar.gz")


def delta_path(label: LabelName, old: int, new: int) -> RelPath:
    """Where a delta lies."""
    return RelPath(f"{folder(label)}/{label}-{old}-{new}.delta.tar.zst")


def packages_for(cargo: Cargo, platform: str) -> list[Piece]:
    """The packages that ``platform`` can use, sorted."""
    others = {name for name in PLATFORMS if name != platform}
    return [
        piece
        for path, piece in sorted(cargo.packages.items())
        if path.partition("/")[0] not in others
    ]


def texts_in_order(cargo: Cargo) -> list[tuple[RelPath, bytes]]:
    """The metadata in the order of publishing, so that unpacking over a channel is a publishing."""
    return sorted(cargo.texts.items(), key=lambda row: publish_rank(row[0]))


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the checklist is filled in with.

    Attributes:
        fingerprint: of the device it is for; None where any will do.
        manifest: SHA-256 of the release's manifest.
        files: what lies beside the checklist, with SHA-256.
    """

    label: LabelName
    release: int
    platforms: Sequence[str]
    fingerprint: Fingerprint | None
    manifest: Digest
    files: Sequence[Piece]
    made: str

    def fill(self, template: str) -> str:
        """The checklist, from its template; the remark that the template begins with goes."""
        marks = {
            "@LABEL@": self.label,
            "@RELEASE@": str(self.release),
            "@PLATFORMS@": ", ".join(self.platforms),
            "@FINGERPRINT@": self.fingerprint or "any device",
            "@MANIFEST@": self.manifest,
            "@MADE@": self.made,
            "@FILES@": "\n".join(
                f"| `{piece.path}` | {piece.size} | `{piece.sha256}` |" for piece in self.files
            ),
        }
        text = template.partition("-->\n")[2].lstrip() or template
        for mark, value in marks.items():
            text = text.replace(mark, value)
        return text


@dataclass(frozen=True, slots=True)
class OemWritten:
    """What was written to a medium for an OEM site.

    Attributes:
        files: paths on the medium; with ``--dry-run`` those that would be written.
    """

    written: Written
    fingerprint: Fingerprint | None
    files: tuple[RelPath, ...]

    def to_json(self) -> dict[str, object]:
        """The document ``repack medium --oem --json`` prints."""
        return {
            **self.written.to_json(),
            "oem": {"fingerprint": self.fingerprint, "files": list(self.files)},
        }
