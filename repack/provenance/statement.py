"""Notarisation of a release: a signed in-toto statement, and a log that cannot be rewritten.

- The statement is in-toto's Statement v1 with SLSA's provenance predicate v1; its subjects are the
  manifest and every file that the manifest's integrity list names.
- The envelope is DSSE, signed and verified by securesystemslib.
- Report and log entry hold nothing that does not follow from the envelope, and are computed anew
  to be checked. Each statement signs its place in the log and the hash of the entry before it, so
  an entry that is changed, dropped or inserted contradicts the entry after it, and the last entry
  its envelope.

Sources: in-toto attestation spec v1 (``spec/v1/statement.md``, ``spec/v1/resource_descriptor.md``),
SLSA v1.0 (``provenance/v1``), DSSE v1.0.0 (``envelope.md``). The structs below have the names of
these documents; :class:`InternalParameters` and :class:`ExternalParameters` are ours, as SLSA leaves
them to the build type.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct, field
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import Key as PublicHalf
from securesystemslib.signer import Signer

from repack.codec.canonical import canonical, loads
from repack.codec.decode import Document, decode, encode
from repack.errors import IntegrityError, KeyRefusedError, SignatureError
from repack.names import LabelName

__all__ = ["Envelope", "PublicHalf", "Signer"]

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
BUILD_TYPE: Final = "urn:repack:label-build:1"
REPORT_KIND: Final = "repack-notarization"
ENVELOPE_LIMIT: Final = 256 << 20
LOG_LIMIT: Final = 256 << 20


class DigestSet(Document, frozen=True):
    """in-toto's DigestSet; SHA-256 is the only algorithm here."""

    sha256: str


class ResourceDescriptor(Document, frozen=True, omit_defaults=True):
    """A subject, which has no ``uri``, or an input: the lock, an upstream package, a bundle."""

    name: str
    digest: DigestSet
    uri: str | None = None


class LogPlace(Document, frozen=True):
    """Number of a log entry, from 1, and the SHA-256 of the entry before it.

    The order of the fields is that of reports, whose bytes are compared.
    """

    previous: str | None
    sequence: int

    @classmethod
    def after(cls, log: Sequence[bytes]) -> LogPlace:
        """The place of the entry that comes after those of ``log``."""
        return cls(hashlib.sha256(log[-1]).hexdigest() if log else None, len(log) + 1)


class ExternalParameters(Document, frozen=True):
    """What was built; ``channels`` are the upstream channels, without secrets.

    Envelope and report are called after the label, so it is a name and no path.
    """

    label: LabelName
    release: int
    platforms: tuple[str, ...]
    channels: tuple[str, ...]


class InternalParameters(Document, frozen=True):
    """The manifest's digest, the kind of keys in words, and the place in the log."""

    manifest: DigestSet
    keys: str
    log: LogPlace


class BuildDefinition(Document, frozen=True, rename="camel"):
    """SLSA's BuildDefinition."""

    build_type: str
    external_parameters: ExternalParameters
    internal_parameters: InternalParameters
    resolved_dependencies: tuple[ResourceDescriptor, ...]


class Builder(Document, frozen=True):
    """SLSA's Builder: a URI, and the versions of its tools."""

    id: str
    version: Mapping[str, str]


class BuildMetadata(Document, frozen=True, rename="camel"):
    """SLSA's BuildMetadata; the times are UTC stamps."""

    invocation_id: str
    started_on: str
    finished_on: str


class RunDetails(Document, frozen=True):
    """SLSA's RunDetails."""

    builder: Builder
    metadata: BuildMetadata


class Provenance(Document, frozen=True, rename="camel"):
    """SLSA's provenance predicate."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(Document, frozen=True, rename="camel"):
    """in-toto's Statement about a release."""

    type: str = field(name="_type")
    subject: tuple[ResourceDescriptor, ...]
    predicate_type: str
    predicate: Provenance


class DsseSignature(Document, frozen=True):
    """DSSE's Signature; without a ``keyid`` ours could not be told from others'."""

    keyid: str
    sig: str


class DsseEnvelope(Document, frozen=True, rename="camel"):
    """DSSE's Envelope, for its types: securesystemslib takes any."""

    payload: str
    payload_type: str
    signatures: tuple[DsseSignature, ...]


class ReleaseSubject(Struct, frozen=True):
    """A release as it lies in its channel.

    Attributes:
        subjects: SHA-256 by path; the manifest is one of them.
        manifest: SHA-256 of the manifest.
        inputs: what it was built from.
        built_at: as the manifest says.
    """

    parameters: ExternalParameters
    subjects: Mapping[str, str]
    manifest: str
    inputs: tuple[ResourceDescriptor, ...]
    built_at: str


class BuildRun(Struct, frozen=True):
    """Who notarises, when, with which tools and keys, and at which place of the log."""

    builder: Builder
    at: str
    keys: str
    log: LogPlace


def build_statement(release: ReleaseSubject, run: BuildRun) -> Statement:
    """The in-toto statement about a release."""
    label, number = release.parameters.label, release.parameters.release
    inner = InternalParameters(DigestSet(release.manifest), run.keys, run.log)
    invocation = f"{label}@{number}/{run.log.sequence}"
    definition = BuildDefinition(BUILD_TYPE, release.parameters, inner, release.inputs)
    metadata = BuildMetadata(invocation, release.built_at, run.at)
    subjects = sorted(release.subjects.items())
    return Statement(
        type=STATEMENT,
        subject=tuple(ResourceDescriptor(path, DigestSet(sha256)) for path, sha256 in subjects),
        predicate_type=PREDICATE,
        predicate=Provenance(definition, RunDetails(run.builder, metadata)),
    )


def sign_envelope(statement: Statement, signers: Sequence[Signer]) -> bytes:
    """The statement in its DSSE envelope, as a file."""
    envelope = Envelope(canonical(encode(statement)), PAYLOAD_TYPE, {})
    for signer in signers:
        envelope.sign(signer)
    return json.dumps(envelope.to_dict(), indent=1).encode() + b"\n"


class VerifiedStatement(Struct, frozen=True):
    """An envelope whose signature was verified.

    Attributes:
        data: the envelope's file.
        keyids: the keys whose signatures were accepted, sorted.
    """

    data: bytes
    statement: Statement
    keyids: tuple[str, ...]

    @property
    def definition(self) -> BuildDefinition:
        """SLSA's BuildDefinition."""
        return self.statement.predicate.build_definition

    @property
    def subjects(self) -> dict[str, str]:
        """SHA-256 by path."""
        return {subject.name: subject.digest.sha256 for subject in self.statement.subject}

    @property
    def name(self) -> str:
        """The release, and the stem of its files: ``halkbank-12``."""
        parameters = self.definition.external_parameters
        return f"{parameters.label}-{parameters.release}"

    @property
    def manifest(self) -> str:
        """SHA-256 of the manifest it is about."""
        return self.definition.internal_parameters.manifest.sha256

    @property
    def log(self) -> LogPlace:
        """Its place in the log."""
        return self.definition.internal_parameters.log

    @property
    def envelope_file(self) -> str:
        """The name of the envelope's file."""
        return f"{self.name}.intoto.json"

    @property
    def report_file(self) -> str:
        """The name of the report's file."""
        return f"{self.name}.json"

    @property
    def documents(self) -> dict[str, bytes]:
        """Envelope and report, by file name."""
        return {self.envelope_file: self.data, self.report_file: self.report}

    @property
    def report(self) -> bytes:
        """What the envelope says, for people: a file beside it."""
        parameters = self.definition.external_parameters
        inner = self.definition.internal_parameters
        run = self.statement.predicate.run_details
        document = {
            "kind": REPORT_KIND,
            "label": parameters.label,
            "release": parameters.release,
            "platforms": parameters.platforms,
            "built_at": run.metadata.started_on,
            "notarized_at": run.metadata.finished_on,
            "builder": run.builder.id,
            "tools": run.builder.version,
            "keys": inner.keys,
            "signed_by": self.keyids,
            "manifest_sha256": self.manifest,
            "files": len(self.statement.subject),
            "channels": parameters.channels,
            "inputs": [
                {"name": package.name, "uri": package.uri, "sha256": package.digest.sha256}
                for package in self.definition.resolved_dependencies
            ],
            "envelope": self.envelope_file,
            "envelope_sha256": hashlib.sha256(self.data).hexdigest(),
            "log": encode(self.log),
        }
        return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"

    @property
    def log_entry(self) -> bytes:
        """The log's line about an envelope, without the line's end."""
        entry = {
            **encode(self.log),
            "at": self.statement.predicate.run_details.metadata.finished_on,
            "name": self.name,
            "manifest_sha256": self.manifest,
            "envelope": self.envelope_file,
            "envelope_sha256": hashlib.sha256(self.data).hexdigest(),
            "report_sha256": hashlib.sha256(self.report).hexdigest(),
            "signed_by": self.keyids,
        }
        return canonical(entry)


def verify_envelope(data: bytes, keys: Sequence[PublicHalf], where: object) -> VerifiedStatement:
    """Verify an envelope and read the statement in it.

    Raises:
        SignatureError: not signed by one of ``keys``.
        IntegrityError: no envelope, or no statement about a release in it.
        KeyRefusedError: there is no key to verify with.
    """
    if not keys:
        raise KeyRefusedError("there is no public key to check with", where=where)
    rows = decode(DsseEnvelope, loads(data, where, ENVELOPE_LIMIT), where, "DSSE envelope")
    try:
        envelope = Envelope.from_dict(encode(rows))
    except (ValueError, FormatError) as error:
        raise IntegrityError("not a DSSE envelope", where=where, got=repr(error)[:120]) from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise IntegrityError("not a DSSE envelope of in-toto", where=where, expected=PAYLOAD_TYPE)
    try:
        accepted = envelope.verify(list(keys), 1)
    except VerificationError as error:
        raise SignatureError(
            "the notarisation is not signed by a key that was given",
            where=where,
            got=", ".join(keyid[:16] for keyid in envelope.signatures) or "no signature",
        ) from error
    # DSSE, "protocol.md": the payload is parsed only after its signature was verified
    payload = loads(envelope.payload, where, ENVELOPE_LIMIT)
    statement = decode(Statement, payload, where, "statement")
    verified = VerifiedStatement(data, statement, tuple(sorted(accepted)))
    types = (statement.type, statement.predicate_type)
    if types != (STATEMENT, PREDICATE) or verified.manifest not in verified.subjects.values():
        raise IntegrityError("not a statement about a release", where=where, got=str(types))
    return verified
