"""What a check of a channel found, and how to say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from repack.errors import IntegrityError

if TYPE_CHECKING:
    from repack.errors import RepackError
    from repack.keys.shared_key import SharedKey
    from repack.verify.consistency import Finding

Signature = Literal["unsigned", "unchecked", "good", "bad"]
Metadata = Literal["none", "unpinned", "pinned", "bad"]
Need = Literal["signature", "nothing"]


class Requirements(Struct, frozen=True):
    """What the checker has and wants.

    Attributes:
        key: the shared key of the manifest.
        root: the pinned root, as a file's bytes.
        need: whether a signature must have been checked.
    """

    key: SharedKey | None = None
    root: bytes | None = None
    need: Need = "nothing"


class Verdict(Struct):
    """What was found.

    Attributes:
        signature: of the manifest, by the shared key.
        metadata: of the public-key metadata.
        tags: those the release is signed for in production.
        refusals: why the metadata was not believed.
    """

    label: str
    release: str
    signature: Signature = "unsigned"
    metadata: Metadata = "none"
    key_id: str | None = None
    development: bool = False
    tags: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    refusals: list[RepackError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    litter: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0

    @property
    def exit_code(self) -> int:
        """0 when nothing is wrong; 6 for wrong bytes, else the first refusal's own."""
        if self.findings:
            return IntegrityError.exit_code
        return self.refusals[0].exit_code if self.refusals else 0

    @property
    def signed_by(self) -> str:
        """Who vouches for this channel, in words an auditor can quote."""
        words = []
        if self.signature == "good":
            words.append(f"shared key {self.key_id or 'without a name'}")
        elif self.signature == "unchecked":
            words.append("a shared key, not checked here")
        if self.metadata in {"pinned", "unpinned"}:
            kind = "development keys" if self.development else "public keys"
            known = "" if self.metadata == "pinned" else ", whose root is not pinned"
            words.append(f"{kind}{known}")
        return " and ".join(words) or ("unsigned" if self.signature == "unsigned" else "nobody")

    def to_json(self) -> dict[str, object]:
        """The document ``repack verify --json`` prints."""
        return {
            "status": "ok" if self.exit_code == 0 else "error",
            "label": self.label,
            "release": self.release,
            "signed_by": self.signed_by,
            "signature": self.signature,
            "key_id": self.key_id,
            "metadata": self.metadata,
            "development_keys": self.development,
            "tags": list(self.tags),
            "findings": [finding.to_json() for finding in self.findings],
            "refusals": [refusal.to_json() for refusal in self.refusals],
            "warnings": self.warnings,
            "litter": list(self.litter),
            "files": self.files,
            "bytes": self.bytes,
        }
