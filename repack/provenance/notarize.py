"""Notarise a release, and check a folder of notarisations.

The envelope and the report are written first, the log last; a kill in between leaves an envelope
that the log does not know, and the next call writes all three.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.channel import integrity, layout
from repack.channel.layout import MANIFEST
from repack.channel.manifest import MAX_BYTES, Manifest, parse
from repack.channel.releases import extra_files
from repack.codec.canonical import loads
from repack.errors import IntegrityError, RepackError, SignatureError, UsageError
from repack.file_entry import UNKNOWN_SIZE, FileEntry
from repack.fs import atomic, beneath, locks
from repack.fs.inventory import compare, take_inventory
from repack.names import Digest, LabelName, RelPath
from repack.provenance.statement import (
    ENVELOPE_LIMIT,
    LOG_LIMIT,
    Builder,
    BuildRun,
    DigestSet,
    ExternalParameters,
    LogPlace,
    ReleaseSubject,
    ResourceDescriptor,
    VerifiedStatement,
    build_statement,
    sign_envelope,
    verify_envelope,
)
from repack.solve.lockfile import read_lock
from repack.timestamps import stamp
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from repack.provenance.statement import PublicHalf, Signer

LOG: Final = "log.jsonl"
_LOCK: Final = "repack/lock.yml"


class Notary(Struct, frozen=True):
    """Who notarises, and in which folder envelopes, reports and the log are kept.

    Attributes:
        builder: a URI.
        tools: version by name.
        public_keys: keys that entries of the log may be signed with, retired ones included.
        keys: in words for the report, such as "development keys".
    """

    folder: Path
    builder: str
    tools: Mapping[str, str]
    signers: Sequence[Signer]
    public_keys: Sequence[PublicHalf]
    keys: str


class Notarized(Struct, frozen=True):
    """Where a release's envelope and report are, and the number of its log entry."""

    envelope: Path
    report: Path
    sequence: int
    changed: bool


def notarize(channel: Path, notary: Notary, now: datetime) -> Notarized:
    """State who built the release in ``channel`` from what, sign it and log it.

    A release whose manifest and files the log already covers is left alone.

    Raises:
        IntegrityError: the channel, or the log so far, is not what it says it is.
        KeyRefusedError: there is no key to sign with.
        BusyError: somebody else writes the log.
    """
    folder = notary.folder
    with locks.exclusive(folder / ".log.lock", "a notarisation"):
        release = describe(channel)
        log = _read_log(folder)
        for line in reversed(log):
            verified = _read_envelope(folder, line, notary.public_keys)
            if (verified.manifest, verified.subjects) == (release.manifest, release.subjects):
                changed = False
                break
        else:
            changed = True
            builder = Builder(notary.builder, notary.tools)
            run = BuildRun(builder, stamp(now), notary.keys, LogPlace.after(log))
            data = sign_envelope(build_statement(release, run), notary.signers)
            verified = verify_envelope(data, notary.public_keys, folder)
            for name, content in verified.documents.items():
                atomic.write(folder / name, content)
            # The log comes last: only then does the release count as notarised
            lines = [*log, verified.log_entry]
            atomic.write(folder / LOG, b"".join(line + b"\n" for line in lines))
    envelope, report = folder / verified.envelope_file, folder / verified.report_file
    return Notarized(envelope, report, verified.log.sequence, changed)


def describe(channel: Path) -> ReleaseSubject:
    """Read a release where it lies, and check that no file is missing, changed or extra.

    Raises:
        IntegrityError: no manifest, or a file missing, changed or not listed.
        PlaceError: a file cannot be read.
    """
    data = atomic.read(channel / MANIFEST, MAX_BYTES)
    manifest = parse(data, MANIFEST)
    subjects = {str(MANIFEST): hashlib.sha256(data).hexdigest()}
    if manifest.integrity is None:
        raise IntegrityError("the manifest names no integrity list", where=channel)
    subjects[manifest.integrity.path] = manifest.integrity.sha256
    listing = atomic.read(channel / manifest.integrity.path, integrity.MAX_BYTES)
    for path, entry in integrity.parse(listing, manifest.integrity.path).items():
        subjects[path] = entry.sha256
    faults = differences(channel, subjects)
    if faults:
        raise IntegrityError(
            "the channel is not what its manifest says", where=channel, got="; ".join(faults[:20])
        )
    try:
        label = LabelName(manifest.id)
    except UsageError as error:
        raise IntegrityError("the manifest is no label's", where=channel, got=error.what) from error
    channels, inputs = _inputs(channel, manifest)
    platform = manifest.platform
    platforms = (platform,) if isinstance(platform, str) else platform
    return ReleaseSubject(
        ExternalParameters(label, manifest.release, platforms, channels),
        subjects,
        subjects[MANIFEST],
        inputs,
        manifest.generated_at or "",
    )


def _inputs(
    channel: Path, manifest: Manifest
) -> tuple[tuple[str, ...], tuple[ResourceDescriptor, ...]]:
    """The upstream channels; the lock, the packages in it, and the label's own packages."""
    own = tuple(
        _input(artifact.path, f"urn:repack:bundle:{manifest.id}:{artifact.path}", artifact.sha256)
        for artifact in manifest.artifacts
        if artifact.path.startswith(f"noarch/{manifest.id}-")
    )
    if not (channel / _LOCK).is_file():
        return (), own
    lock = read_lock(channel / _LOCK)
    by_path = {record.path: record for records in lock.records.values() for record in records}
    upstream = [
        _input(path, redact_url(record.url), record.sha256)
        for path, record in sorted(by_path.items())
    ]
    digest = hashlib.sha256(lock.data).hexdigest()
    lock_input = _input(_LOCK, f"urn:repack:lock:{manifest.id}", digest)
    return tuple(map(redact_url, lock.channels)), (lock_input, *upstream, *own)


def _input(name: str, uri: str, sha256: str | None) -> ResourceDescriptor:
    return ResourceDescriptor(name, DigestSet(sha256 or ""), uri)


def differences(channel: Path, subjects: Mapping[str, str]) -> list[str]:
    """The files in ``channel`` that are not as ``subjects`` say; litter is no difference."""
    entries = {
        RelPath(path): FileEntry(RelPath(path), UNKNOWN_SIZE, Digest(sha256))
        for path, sha256 in subjects.items()
    }
    return [
        f"{difference.path}: {difference.what}"
        for difference in compare(entries, take_inventory(channel))
        if difference.kind != "extra" or not layout.is_unlisted(difference.path)
    ]


class Checked(Struct, frozen=True):
    """The faults that were found; ``entries`` counts the log's."""

    entries: int
    faults: tuple[str, ...]
    release: str | None = None


def check(folder: Path, keys: Sequence[PublicHalf], channel: Path | None) -> Checked:
    """Check envelopes, reports and the log's chain; and a channel against its notarisation.

    Raises:
        PlaceError: the folder or the channel cannot be read.
    """
    faults: list[str] = []
    with atomic.os_errors_at(folder):
        unlogged = {e.name for e in beneath.scan(folder) if e.name.endswith(".json")}
    try:
        log = _read_log(folder)
    except IntegrityError as error:
        return Checked(0, (error.what,))
    statements: list[VerifiedStatement] = []
    for number, line in enumerate(log, 1):
        try:
            verified = _read_envelope(folder, line, keys)
        except RepackError as error:
            faults.append(f"entry {number}: {error.what}")
            continue
        statements.append(verified)
        faults += _entry_faults(folder, verified, log[: number - 1], line)
        unlogged -= {verified.envelope_file, verified.report_file}
    if not faults:
        faults += [f"{name}: the log does not know it" for name in sorted(unlogged)]
    if not log:
        faults.append("the log is empty")
    if channel is None:
        return Checked(len(log), tuple(faults))
    digest = hashlib.sha256(atomic.read(channel / MANIFEST, MAX_BYTES)).hexdigest()
    about = [verified for verified in statements if verified.manifest == digest]
    if not about:
        return Checked(len(log), (*faults, f"{channel}: this release was not notarised"))
    faults += differences(channel, about[-1].subjects)
    return Checked(len(log), tuple(faults), about[-1].name)


def _entry_faults(
    folder: Path, verified: VerifiedStatement, before: Sequence[bytes], line: bytes
) -> list[str]:
    number = len(before) + 1
    faults = []
    if verified.log != LogPlace.after(before):
        faults.append(f"entry {number}: does not follow the one before it")
    if verified.log_entry != line:
        faults.append(f"entry {number}: is not what its envelope says")
    if not _is_report_right(folder, verified):
        faults.append(f"{verified.report_file}: the report is not what the envelope says")
    return faults


def _is_report_right(folder: Path, verified: VerifiedStatement) -> bool:
    path = folder / verified.report_file
    return path.is_file() and atomic.read(path, ENVELOPE_LIMIT) == verified.report


def read_release(
    folder: Path, name: str, manifest: str, keys: Sequence[PublicHalf]
) -> VerifiedStatement:
    """The statement about one release, and its report checked; its place in the log is not.

    Args:
        folder: where envelope and report are kept.
        name: the release, as in ``halkbank-12``.
        manifest: SHA-256 of its manifest.
        keys: public keys that it may be signed with.

    Raises:
        UsageError: the release was not notarised.
        IntegrityError: they are not about this release, or were changed.
        SignatureError: they are signed by another key.
    """
    path = folder / f"{name}.intoto.json"
    if not path.is_file():
        raise UsageError(
            f"release {name} was not notarised",
            where=path,
            hint="notarise it first: repack notarize channels/LABEL",
        )
    verified = verify_envelope(atomic.read(path, ENVELOPE_LIMIT), keys, path)
    if (verified.name, verified.manifest) != (name, manifest):
        raise IntegrityError(
            "the notarisation is about another release",
            where=path,
            expected=f"{name}, manifest {manifest}",
            got=f"{verified.name}, manifest {verified.manifest}",
        )
    if not _is_report_right(folder, verified):
        report = folder / verified.report_file
        raise IntegrityError("the report is not what the envelope says", where=report)
    return verified


def check_copy(folder: Path, keys: Sequence[PublicHalf], channel: Path) -> Checked:
    """Check a channel against a copied notarisation, as on a medium, which has no log.

    Raises:
        UsageError: the envelope of this release is not there.
        PlaceError: a file cannot be read.
    """
    data = atomic.read(channel / MANIFEST, MAX_BYTES)
    manifest = parse(data, channel / MANIFEST)
    name = f"{manifest.id}-{manifest.release}"
    try:
        verified = read_release(folder, name, hashlib.sha256(data).hexdigest(), keys)
    except (IntegrityError, SignatureError) as error:
        return Checked(0, (error.what,))
    # A medium may hold several releases in one folder; files of the others are no fault
    other_releases = {f"{path}: not listed" for path in extra_files(channel)}
    faults = [f for f in differences(channel, verified.subjects) if f not in other_releases]
    return Checked(0, tuple(faults), name)


def _read_log(folder: Path) -> list[bytes]:
    data = atomic.read(path, LOG_LIMIT) if (path := folder / LOG).exists() else b""
    if data and not data.endswith(b"\n"):
        raise IntegrityError("the log is cut off in its last line", where=path)
    return data.split(b"\n")[:-1]


def _read_envelope(folder: Path, line: bytes, keys: Sequence[PublicHalf]) -> VerifiedStatement:
    entry = loads(line, LOG, LOG_LIMIT)
    name = entry.get("envelope") if isinstance(entry, dict) else None
    if not isinstance(name, str) or "/" in name or "\\" in name:
        raise IntegrityError("an entry of the log names no envelope", where=folder / LOG)
    return verify_envelope(atomic.read(folder / name, ENVELOPE_LIMIT), keys, folder / name)
