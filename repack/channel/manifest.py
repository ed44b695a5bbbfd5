"""The manifest: one release, or one update package, and the HMAC over it.

Format and signed bytes are the contract's: the HMAC-SHA384 of the document without ``signature``
as canonical JSON. Reading is lenient on fields it does not know, which are kept and stay signed,
and strict on everything that leads to a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal

from msgspec import Struct, field, structs

from repack.codec.canonical import encode_rows, is_size, loads
from repack.errors import IntegrityError, SignatureError
from repack.file_entry import FileEntry
from repack.keys.shared_key import check_hmac_sha384, sign_hmac_sha384
from repack.names import Digest, Digest384, RelPath
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.keys.shared_key import SharedKey
    from repack.names import LabelName


MAX_BYTES: Final = 64 << 20
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


class Artifact(Struct, frozen=True):
    """One file of a release. At least one of the hashes is there; both are written."""

    path: RelPath
    size: int
    sha256: Digest | None
    sha384: Digest384 | None
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
        row: dict[str, object] = {"path": self.path}
        if self.sha384 is not None:
            row["sha384"] = self.sha384
        if self.sha256 is not None:
            row["sha256"] = self.sha256
        row |= {"size": self.size, "type": self.type}
        return row | ({"base_id": self.base_id} if self.base_id is not None else {})


class IntegrityRef(Struct, frozen=True):
    """The integrity file, pinned by its hash."""

    path: RelPath
    sha256: Digest


class Manifest(Value, frozen=True):
    """The description of a release; ``extra`` holds fields this repack does not know."""

    hidden_fields: ClassVar = ("source",)
    uncompared_fields: ClassVar = ("source",)

    id: str
    version: str
    platform: str | tuple[str, ...]
    artifacts: tuple[Artifact, ...]
    runtime: str = "conda"
    generated_at: str | None = None
    integrity: IntegrityRef | None = None
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
            document["integrity_manifest"] = {
                "path": self.integrity.path,
                "sha256": self.integrity.sha256,
            }
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
    parse_artifacts([row.to_json() for row in rows], head.id)
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
    generated_at = document.get("generated_at")
    if generated_at is not None and not isinstance(generated_at, str):
        raise IntegrityError("generated_at is malformed", where=where)
    return Manifest(
        id=_text(document, "id", where),
        version=_text(document, "version", where),
        platform=_platform(document.get("platform"), where),
        artifacts=parse_artifacts(document.get("artifacts"), where),
        runtime=_text(document, "runtime", where),
        generated_at=generated_at,
        integrity=_integrity(document.get("integrity_manifest"), where),
        extra={name: value for name, value in document.items() if name not in _KNOWN},
        signature=signature,
        source={name: value for name, value in document.items() if name != "signature"},
    )


def parse_artifacts(rows: object, where: object) -> tuple[Artifact, ...]:
    """Read the list of artifacts of any document that has one in the manifest's form.

    Raises:
        IntegrityError: no list, a row malformed, or two rows for one file.
    """
    if not isinstance(rows, list):
        raise IntegrityError("artifacts is no list", where=where)
    seen: set[str] = set()
    found = []
    for number, row in enumerate(rows):
        artifact = _artifact(row, f"{where}, artifact {number + 1}")
        # one file under two names on Windows, where case does not count
        if artifact.path.casefold() in seen:
            raise IntegrityError("an artifact stands twice", where=where, got=artifact.path[:200])
        seen.add(artifact.path.casefold())
        found.append(artifact)
    return tuple(found)


def _artifact(row: object, where: str) -> Artifact:
    if not isinstance(row, dict):
        raise IntegrityError("no object", where=where)
    kind, base_id, size = row.get("type", "full"), row.get("base_id"), row.get("size")
    if kind not in ("full", "diff"):
        raise IntegrityError(
            "unknown type", where=where, expected="full or diff", got=repr(kind)[:80]
        )
    if base_id is not None and not isinstance(base_id, str):
        raise IntegrityError("base_id is malformed", where=where)
    if not is_size(size):
        raise IntegrityError("size is malformed", where=where, got=repr(size)[:80])
    sha256, sha384 = row.get("sha256"), row.get("sha384")
    if sha256 is None and sha384 is None:
        raise IntegrityError("no hash", where=where, expected="sha384 or sha256")
    try:
        return Artifact(
            path=RelPath(_text(row, "path", where)),
            size=size,
            sha256=None if sha256 is None else Digest(_text(row, "sha256", where)),
            sha384=None if sha384 is None else Digest384(_text(row, "sha384", where)),
            type=kind,
            base_id=base_id,
        )
    except IntegrityError as error:
        raise IntegrityError(error.what, where=where, got=error.got) from error


def _text(document: Mapping[str, object], name: str, where: object) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise IntegrityError(f"{name} is missing or no text", where=where)
    return value


def _platform(value: object, where: object) -> str | tuple[str, ...]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and all(isinstance(one, str) and one for one in value):
        return tuple(value)
    raise IntegrityError("platform is neither text nor a list of texts", where=where)


def _integrity(value: object, where: object) -> IntegrityRef | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise IntegrityError("integrity_manifest is no object", where=where)
    try:
        path, sha256 = _text(value, "path", where), _text(value, "sha256", where)
        return IntegrityRef(RelPath(path), Digest(sha256))
    except IntegrityError as error:
        raise IntegrityError(
            f"integrity_manifest: {error.what}", where=where, got=error.got
        ) from error


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
