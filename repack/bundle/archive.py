"""A release archive: models and strategies in one ``tar.gz``, for targets without conda.

``manifest.json`` comes first, ``manifest.sig`` next if the release is signed, then the files. The
manifest names every file with SHA-384 and size; the signature is an HMAC-SHA384 over the canonical
JSON of the manifest. A bundle's conda package is read into the same shape, with the SHA-256 that
conda packages carry.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta, Struct

from repack.archive.verified_tar import SECTIONS, ReleaseFile
from repack.bundle.package import path_problems
from repack.codec import canonical
from repack.codec.decode import Document, decode
from repack.display import some
from repack.errors import IntegrityError, SignatureError, UsageError
from repack.keys.shared_key import HMAC_SHA384, check_hmac_sha384, sign_hmac_sha384
from repack.names import Digest384, RelPath
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.keys.shared_key import SharedKey

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
MANIFEST_LIMIT: Final = 32 << 20
SIGNATURE_LIMIT: Final = 64 << 10
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,127}\Z")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z")

Demand = Literal["required", "if-key"]
Checked = Literal["verified", "not checked", "unsigned"]


class Trust(Struct, frozen=True):
    """The key that a release is checked with, and whether it has to be signed.

    Attributes:
        demand: with a key a release must be signed in any case; otherwise removing the signature
            would be a way around the check.

    Raises:
        UsageError: a signature is demanded, but there is no key to check it with.
    """

    key: SharedKey | None = None
    demand: Demand = "if-key"

    def __post_init__(self) -> None:
        """Check that there is a key where one is needed."""
        if self.demand == "required" and self.key is None:
            raise UsageError("a signature is required, but no key was given to check it")

    def unsigned(self) -> Checked:
        """Judge a release without a signature.

        Raises:
            SignatureError: it needs one.
        """
        if self.key is not None:
            raise SignatureError(
                "the release is not signed",
                hint="leave the key out to take it all the same; then nothing shows who made it",
            )
        return "unsigned"


class _ArtifactFields(Document, frozen=True):
    path: RelPath
    size: Annotated[int, Meta(ge=0)]
    sha384: Digest384


class _ManifestFields(Document, frozen=True):
    version: str
    generated_at: str
    artifacts: tuple[_ArtifactFields, ...]


class ReleaseManifest(Value, frozen=True):
    """What a release holds.

    Attributes:
        raw: the manifest as it was read, fields unknown to this version included; what is signed.

    Raises:
        IntegrityError: the version is no plain word, the time is none, two artifacts share a
            path, some system cannot hold one, or there is none.
    """

    hidden_fields: ClassVar = ("raw",)
    uncompared_fields: ClassVar = ("raw",)

    version: str
    generated_at: str
    artifacts: tuple[ReleaseFile, ...]
    raw: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check what came from outside."""
        if not _VERSION.match(self.version):
            raise IntegrityError("no usable version", where=MANIFEST, got=self.version[:128])
        if not _TIME.match(self.generated_at):
            raise IntegrityError(
                "generated_at is no time", where=MANIFEST, got=self.generated_at[:80]
            )
        if not self.artifacts:
            raise IntegrityError("the release holds no file", where=MANIFEST)
        problems = [
            f"{section}/{problem.where}: {problem.what}"
            for section in SECTIONS
            for problem in path_problems({a.inside for a in self.artifacts if a.section == section})
        ]
        counts = Counter(artifact.path for artifact in self.artifacts)
        problems += [f"{path}: is listed twice" for path, count in counts.items() if count > 1]
        if problems:
            raise IntegrityError("bad paths in the manifest", where=MANIFEST, got=some(problems))

    @classmethod
    def of(
        cls, version: str, generated_at: str, artifacts: Iterable[ReleaseFile]
    ) -> ReleaseManifest:
        """A new manifest.

        Raises:
            IntegrityError: as the class says.
        """
        ordered = tuple(sorted(artifacts, key=lambda artifact: artifact.path))
        raw = {
            "version": version,
            "generated_at": generated_at,
            "artifacts": [artifact.to_json() for artifact in ordered],
        }
        return cls(version, generated_at, ordered, raw)

    @classmethod
    def parse(cls, data: bytes) -> ReleaseManifest:
        """Read ``manifest.json``.

        Raises:
            IntegrityError: not strict JSON, a field is missing or odd, or a path is bad.
        """
        raw: Any = canonical.loads(data, MANIFEST, MANIFEST_LIMIT)
        fields = decode(_ManifestFields, raw, MANIFEST, "release manifest")
        for row in fields.artifacts:
            section, slash, _ = row.path.partition("/")
            if section not in SECTIONS or not slash:
                raise IntegrityError(
                    "an artifact has no usable path",
                    where=MANIFEST,
                    expected=" or ".join(f"{section}/…" for section in SECTIONS),
                    got=row.path[:200],
                )
        artifacts = tuple(ReleaseFile(row.path, row.size, row.sha384) for row in fields.artifacts)
        return cls(fields.version, fields.generated_at, artifacts, raw)

    def to_bytes(self) -> bytes:
        """The file, for people too."""
        return _file(self.raw)

    def sign(self, key: SharedKey) -> bytes:
        """The content of ``manifest.sig``."""
        return _file({"signature": sign_hmac_sha384(self.raw, key)})

    def check(self, signature: bytes | None, trust: Trust) -> Checked:
        """Check ``manifest.sig`` and return what that proves.

        Raises:
            SignatureError: missing, malformed, of another algorithm, or by another key.
        """
        if signature is None:
            return trust.unsigned()
        document = canonical.loads(signature, SIGNATURE, SIGNATURE_LIMIT)
        inner = document.get("signature") if isinstance(document, dict) else None
        if trust.key is not None:
            check_hmac_sha384(self.raw, inner, trust.key, SIGNATURE)
            return "verified"
        if not isinstance(inner, dict) or inner.get("algorithm") != HMAC_SHA384:
            raise SignatureError("unknown signature", where=SIGNATURE, expected=HMAC_SHA384)
        return "not checked"


def check_version(version: str) -> None:
    """Check the version that somebody wants to give a release.

    Raises:
        UsageError: it is no plain word.
    """
    if not _VERSION.match(version):
        raise UsageError("no usable version", expected="such as 2024.10.0", got=version[:128])


def _file(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)
    return text.encode("utf-8") + b"\n"
