"""The manifest: one release, or one update package, and the HMAC over it.

Format and signed bytes are the contract's: the HMAC-SHA384 of the document without ``signature``
as canonical JSON. Reading is lenient on fields it does not know, which are kept and stay signed,
and strict on everything that leads to a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from msgspec import Meta, Struct, field, structs

from repack.codec.canonical import encode_rows, loads
from repack.codec.decode import Document, Size, decode, encode
from repack.errors import IntegrityError, SignatureError
from repack.file_entry import FileEntry
from repack.keys.shared_key import check_hmac_sha384, sign_hmac_sha384
from repack.names import Digest, Digest384, RelPath
from repack.structs import Value

if TYPE_CHECKING:
    from repack.keys.shared_key import SharedKey
    from repack.names import LabelName


MAX_BYTES: Final = 64 << 20
MAX_ARTIFACTS: Final = 100_000
_KNOWN: Final = frozenset(
    {
        "id",
        "version",
        "platform",
        "runtime",
        "generated_at",
        "artifacts",
        "integrity_manifest",
        "signature",
    }
)
ArtifactType = Literal["full", "diff"]
Text = Annotated[str, Meta(min_length=1)]


class Artifact(Document, frozen=True):
    """One file of a release. At least one of the hashes is there; both are written."""

    path: RelPath
    size: Size
    sha256: Digest | None = None
    sha384: Digest384 | None = None
    type: ArtifactType = "full"
    base_id: str | None = None

    @property
    def entry(self) -> FileEntry:
        """Path, size and SHA-256.

        Raises:
            IntegrityError: it has a SHA-384 alone, which no artifact of our own releases has.
        """
        if self.sha256 is None:
            raise IntegrityError("an artifact has no SHA-256", got=self.path)
        return FileEntry(self.path, self.size, self.sha256)

    def to_json(self) -> dict[str, object]:
        """The row as it stands in the manifest."""
        names = ("path", "sha384", "sha256", "size", "type", "base_id")
        row = encode(self)
        return {name: row[name] for name in names if row[name] is not None}


class IntegrityRef(Document, frozen=True):
    """The integrity file, pinned by its hash."""

    path: RelPath
    sha256: Digest


class Manifest(Value, Document, frozen=True, eq=False):
    """The description of a release; ``extra`` holds fields this repack does not know."""

    hidden_fields: ClassVar = ("source",)
    uncompared_fields: ClassVar = ("source",)

    id: Text
    version: Text
    platform: Text | tuple[Text, ...]
    artifacts: tuple[Artifact, ...]
    runtime: Text = "conda"
    generated_at: str | None = None
    integrity: IntegrityRef | None = field(default=None, name="integrity_manifest")
    extra: Mapping[str, object] = field(default_factory=dict)
    signature: Mapping[str, object] | None = None
    # What was read, to the field: the signature covers this, not our understanding of it.
    source: Mapping[str, object] | None = None

    @property
    def release(self) -> int:
        """The number of the release, where the version is one.

        Raises:
            IntegrityError: it is not.
        """
        if not (self.version.isascii() and self.version.isdigit() and self.version[0] != "0"):
            raise IntegrityError("version is no release number", got=repr(self.version)[:80])
        return int(self.version)

    @property
    def packages(self) -> dict[RelPath, FileEntry]:
        """The artifacts of one of our own releases, by path.

        Raises:
            IntegrityError: one has no SHA-256.
        """
        return {artifact.path: artifact.entry for artifact in self.artifacts}

    def payload(self) -> dict[str, object]:
        """What is signed: everything but the signature."""
        if self.source is not None:
            return dict(self.source)
        platform = self.platform if isinstance(self.platform, str) else list(self.platform)
        document: dict[str, object] = {
            "id": self.id,
            "version": self.version,
            "platform": platform,
            "runtime": self.runtime,
        }
        if self.generated_at is not None:
            document["generated_at"] = self.generated_at
        document["artifacts"] = [artifact.to_json() for artifact in self.artifacts]
        if self.integrity is not None:
            document["integrity_manifest"] = encode(self.integrity)
        return document | dict(self.extra)

    def signed(self, key: SharedKey) -> Manifest:
        """The same manifest, signed with ``key``."""
        return structs.replace(self, signature=dict(sign_hmac_sha384(self.payload(), key)))

    def check(self, key: SharedKey, where: object) -> None:
        """Check the signature.

        Raises:
            SignatureError: it is missing, or does not fit.
        """
        if self.signature is None:
            raise SignatureError("the manifest is not signed", where=where)
        check_hmac_sha384(self.payload(), self.signature, key, where)

    def to_bytes(self) -> bytes:
        """The file, indented for the people who will read it."""
        document = self.payload()
        if self.signature is not None:
            document["signature"] = dict(self.signature)
        return encode_rows(document)


def build(
    head: Manifest, artifacts: tuple[Artifact, ...], integrity: IntegrityRef | None = None
) -> Manifest:
    """``head`` with its artifacts, sorted by path.

    Raises:
        IntegrityError: a path stands twice, or an artifact has no hash.
    """
    rows = tuple(sorted(artifacts, key=lambda artifact: artifact.path))
    _check_artifacts(rows, head.id)
    return structs.replace(head, artifacts=rows, integrity=integrity, source=None)


def parse(data: bytes, where: object) -> Manifest:
    """Read a manifest. The signature is not checked: that takes a key and :meth:`Manifest.check`.

    Raises:
        IntegrityError: not strict JSON, a field missing or of the wrong type, a bad path or hash.
    """
    document = loads(data, where, MAX_BYTES)
    if not isinstance(document, dict):
        raise IntegrityError("the manifest is no object", where=where)
    signature = document.get("signature")
    if "signature" in document and not isinstance(signature, dict):
        raise SignatureError("the signature is malformed", where=where, expected="an object")
    if "runtime" not in document:
        raise IntegrityError("runtime is missing", where=where)
    known = {name: document[name] for name in document.keys() & (_KNOWN - {"signature"})}
    manifest = decode(Manifest, known, where, "manifest")
    _check_artifacts(manifest.artifacts, where)
    return structs.replace(
        manifest,
        extra={name: value for name, value in document.items() if name not in _KNOWN},
        signature=signature,
        source={name: value for name, value in document.items() if name != "signature"},
    )


def _check_artifacts(artifacts: tuple[Artifact, ...], where: object) -> None:
    if len(artifacts) > MAX_ARTIFACTS:
        expected = f"at most {MAX_ARTIFACTS}"
        raise IntegrityError("too many files", where=where, expected=expected, got=len(artifacts))
    seen: set[str] = set()
    for artifact in artifacts:
        if artifact.sha256 is None and artifact.sha384 is None:
            raise IntegrityError(
                "an artifact has no hash", where=where, expected="sha384 or sha256",
                got=artifact.path[:200],
            )  # fmt: skip
        # Where case does not count, as on Windows, two names are one file.
        if artifact.path.casefold() in seen:
            raise IntegrityError("an artifact stands twice", where=where, got=artifact.path[:200])
        seen.add(artifact.path.casefold())


class Release(Struct, frozen=True):
    """One numbered state of a label's channel.

    ``facts`` go into the manifest as they are: how each platform was proved, for one.
    """

    label: LabelName
    number: int
    platforms: tuple[str, ...]
    generated_at: str
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def subdirs(self) -> tuple[str, ...]:
        """All folders of packages; ``noarch`` always is one."""
        return ("noarch", *(name for name in self.platforms if name != "noarch"))

    def head(self) -> Manifest:
        """The manifest without artifacts."""
        return Manifest(
            id=self.label,
            version=str(self.number),
            platform=self.subdirs,
            artifacts=(),
            generated_at=self.generated_at,
            extra=self.facts,
        )
