"""Notarisation: who built a release from what, signed, and a log that cannot be rewritten.

- The statement is in-toto's Statement v1 with SLSA's provenance predicate v1; its subjects are the
  manifest and every file that the manifest's integrity list names.
- The envelope is DSSE, made and checked by securesystemslib.
- Report and log entry hold nothing that does not follow from the envelope, and are made anew to be
  checked. Each statement signs its place in the log and the hash of the entry before it, so an entry
  that is changed, dropped or slipped in breaks the one after it, and the last one its envelope.

Sources: in-toto attestation spec v1 (``spec/v1/statement.md``), SLSA v1.0 (``provenance/v1``), DSSE
v1.0.0 (``envelope.md``).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import Key as PublicHalf
from securesystemslib.signer import Signer

from repack.codec.canonical import canonical, loads
from repack.errors import IntegrityError, KeyRefusedError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Envelope", "PublicHalf", "Signer"]

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
BUILD_TYPE: Final = "urn:repack:label-build:1"
REPORT_KIND: Final = "repack-notarization"
ENVELOPE_LIMIT: Final = 256 << 20
LOG_LIMIT: Final = 256 << 20


class Input(Struct, frozen=True):
    """Something the release was made from: a lock, an upstream package, a bundle."""

    name: str
    uri: str
    sha256: str

    def to_json(self) -> dict[str, object]:
        """A ResourceDescriptor."""
        return {"name": self.name, "uri": self.uri, "digest": {"sha256": self.sha256}}


class ReleaseSubject(Struct, frozen=True):
    """A release as it lies in its channel.

    Attributes:
        subjects: SHA-256 by path; the manifest is one of them.
        channels: the upstream channels, without secrets.
        built_at: as the manifest says.
    """

    label: str
    release: int
    platforms: tuple[str, ...]
    subjects: Mapping[str, str]
    manifest: str
    channels: tuple[str, ...]
    inputs: tuple[Input, ...]
    built_at: str


class BuildRun(Struct, frozen=True):
    """Who notarises, when, with what, and after which entry of the log."""

    builder: str
    tools: Mapping[str, str]
    at: str
    keys: str
    sequence: int
    previous: str | None


def statement(built: ReleaseSubject, occasion: BuildRun) -> dict[str, Any]:
    """The in-toto statement about a release."""
    subjects = [
        {"name": path, "digest": {"sha256": digest}}
        for path, digest in sorted(built.subjects.items())
    ]
    return {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "label": built.label,
                    "release": built.release,
                    "platforms": list(built.platforms),
                    "channels": list(built.channels),
                },
                "internalParameters": {
                    "manifest": {"sha256": built.manifest},
                    "keys": occasion.keys,
                    "log": {"sequence": occasion.sequence, "previous": occasion.previous},
                },
                "resolvedDependencies": [one.to_json() for one in built.inputs],
            },
            "runDetails": {
                "builder": {"id": occasion.builder, "version": dict(occasion.tools)},
                "metadata": {
                    "invocationId": f"{built.label}@{built.release}/{occasion.sequence}",
                    "startedOn": built.built_at,
                    "finishedOn": occasion.at,
                },
            },
        },
    }


def sign_envelope(document: Mapping[str, Any], signers: Sequence[Signer]) -> bytes:
    """The statement in its envelope, as a file."""
    envelope = Envelope(canonical(document), PAYLOAD_TYPE, {})
    for signer in signers:
        envelope.sign(signer)
    return json.dumps(envelope.to_dict(), indent=1).encode() + b"\n"


class VerifiedStatement(Struct, frozen=True):
    """An envelope that was checked."""

    data: bytes
    document: Mapping[str, Any]
    keyids: tuple[str, ...]

    @property
    def subjects(self) -> dict[str, str]:
        """SHA-256 by path."""
        return {row["name"]: row["digest"]["sha256"] for row in self.document["subject"]}

    @property
    def name(self) -> str:
        """The stem of its files: ``halkbank-12``."""
        given = self.document["predicate"]["buildDefinition"]["externalParameters"]
        return f"{given['label']}-{given['release']}"

    @property
    def manifest(self) -> str:
        """SHA-256 of the manifest it is about."""
        inner = self.document["predicate"]["buildDefinition"]["internalParameters"]
        return str(inner["manifest"]["sha256"])


def verify_envelope(data: bytes, keys: Sequence[PublicHalf], where: object) -> VerifiedStatement:
    """Check an envelope and take the statement out.

    Raises:
        SignatureError: not signed by one of ``keys``.
        IntegrityError: no envelope, or no statement of this kind in it.
        KeyRefusedError: there is no key to check with.
    """
    if not keys:
        raise KeyRefusedError("there is no public key to check with", where=where)
    found = loads(data, where, ENVELOPE_LIMIT)
    try:
        envelope = Envelope.from_dict(found) if isinstance(found, dict) else None
    except (KeyError, TypeError, ValueError, FormatError, AttributeError) as error:
        raise IntegrityError("not a DSSE envelope", where=where, got=repr(error)[:120]) from error
    if envelope is None or envelope.payload_type != PAYLOAD_TYPE:
        raise IntegrityError("not a DSSE envelope of in-toto", where=where, expected=PAYLOAD_TYPE)
    try:
        accepted = envelope.verify(list(keys), 1)
    except VerificationError as error:
        raise SignatureError(
            "the notarisation is not signed by a key that was given",
            where=where,
            got=", ".join(keyid[:16] for keyid in envelope.signatures) or "no signature",
        ) from error
    document = loads(envelope.payload, where, ENVELOPE_LIMIT)
    sealed = VerifiedStatement(
        data, document if isinstance(document, dict) else {}, tuple(sorted(accepted))
    )
    try:
        kinds = (document["_type"], document["predicateType"])  # type: ignore[index]
        if kinds != (STATEMENT, PREDICATE) or sealed.manifest not in sealed.subjects.values():
            raise IntegrityError("not a statement about a release", where=where, got=str(kinds))
        _ = sealed.name, report(sealed)
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError("the statement is incomplete", where=where, got=str(error)) from error
    return sealed


def report(sealed: VerifiedStatement) -> bytes:
    """What the envelope says, for people: a file beside it."""
    definition = sealed.document["predicate"]["buildDefinition"]
    run = sealed.document["predicate"]["runDetails"]
    given, inner = definition["externalParameters"], definition["internalParameters"]
    document = {
        "kind": REPORT_KIND,
        "label": given["label"],
        "release": given["release"],
        "platforms": given["platforms"],
        "built_at": run["metadata"]["startedOn"],
        "notarized_at": run["metadata"]["finishedOn"],
        "builder": run["builder"]["id"],
        "tools": run["builder"]["version"],
        "keys": inner["keys"],
        "signed_by": list(sealed.keyids),
        "manifest_sha256": inner["manifest"]["sha256"],
        "files": len(sealed.document["subject"]),
        "channels": given["channels"],
        "inputs": [
            {"name": row["name"], "uri": row["uri"], "sha256": row["digest"]["sha256"]}
            for row in definition["resolvedDependencies"]
        ],
        "envelope": envelope_file(sealed),
        "envelope_sha256": hashlib.sha256(sealed.data).hexdigest(),
        "log": inner["log"],
    }
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"


def envelope_file(sealed: VerifiedStatement) -> str:
    """The name of the envelope's file."""
    return f"{sealed.name}.intoto.json"


def report_file(sealed: VerifiedStatement) -> str:
    """The name of the report's file."""
    return f"{sealed.name}.json"


def entry(sealed: VerifiedStatement) -> bytes:
    """The log's line about an envelope, without the line's end."""
    inner = sealed.document["predicate"]["buildDefinition"]["internalParameters"]
    return canonical(
        {
            "sequence": inner["log"]["sequence"],
            "previous": inner["log"]["previous"],
            "at": sealed.document["predicate"]["runDetails"]["metadata"]["finishedOn"],
            "name": sealed.name,
            "manifest_sha256": sealed.manifest,
            "envelope": envelope_file(sealed),
            "envelope_sha256": hashlib.sha256(sealed.data).hexdigest(),
            "report_sha256": hashlib.sha256(report(sealed)).hexdigest(),
            "signed_by": list(sealed.keyids),
        }
    )


def lines(log: bytes, where: object) -> list[bytes]:
    """The entries of a log.

    Raises:
        IntegrityError: it does not end in a line's end: it was cut.
    """
    if log and not log.endswith(b"\n"):
        raise IntegrityError("the log is cut off in its last line", where=where)
    return log.split(b"\n")[:-1]


def next_place(log: Sequence[bytes]) -> tuple[int, str | None]:
    """Number of the next entry, and the hash of the one before it."""
    return len(log) + 1, hashlib.sha256(log[-1]).hexdigest() if log else None
