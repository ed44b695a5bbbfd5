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
from repack.fs import atomic, digests, locks
from repack.fs.walk import walk
from repack.provenance import statement
from repack.provenance.statement import BuildRun, Input, ReleaseSubject, VerifiedStatement
from repack.solve.lockfile import read_lock
from repack.timestamps import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from repack.provenance.statement import PublicHalf, Signer

LOG: Final = "log.jsonl"
_LOCK: Final = "repack/lock.yml"


class Notary(Struct, frozen=True):
    """Who notarises, and where the papers are kept.

    Attributes:
        keys: in words for the report, such as "development keys".
        known: public keys that entries of the log may be signed with, retired ones included.
    """

    folder: Path
    builder: str
    tools: Mapping[str, str]
    signers: Sequence[Signer]
    known: Sequence[PublicHalf]
    keys: str


class Notarized(Struct, frozen=True):
    """The papers of a release."""

    envelope: Path
    report: Path
    sequence: int
    changed: bool


def notarize(channel: Path, notary_: Notary, now: datetime) -> Notarized:
    """State who built the release in ``channel`` from what, sign it and log it.

    A release that the log's last word on it already covers is left alone.

    Raises:
        IntegrityError: the channel, or the log so far, is not what it says it is.
        KeyRefusedError: there is no key to sign with.
        BusyError: somebody else writes the log.
    """
    folder = notary_.folder
    with locks.exclusive(folder / ".log.lock", "a notarisation"):
        built = describe(channel)
        log = _log(folder)
        for line in reversed(log):
            sealed = _read(folder, line, notary_.known)
            if sealed.manifest == built.manifest and sealed.subjects == dict(built.subjects):
                return _papers(folder, sealed, changed=False)
        sequence, previous = statement.next_place(log)
        occasion = BuildRun(
            notary_.builder, notary_.tools, stamp(now), notary_.keys, sequence, previous
        )
        data = statement.sign_envelope(statement.statement(built, occasion), notary_.signers)
        sealed = statement.verify_envelope(data, notary_.known, folder)
        atomic.write(folder / statement.envelope_file(sealed), data)
        atomic.write(folder / statement.report_file(sealed), statement.report(sealed))
        atomic.write(
            folder / LOG, b"".join(line + b"\n" for line in [*log, statement.entry(sealed)])
        )
        return _papers(folder, sealed, changed=True)


def describe(channel: Path) -> ReleaseSubject:
    """Read a release where it lies, and make sure that it is whole.

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
    for path, row in integrity.parse(listing, manifest.integrity.path).items():
        subjects[path] = row.sha256
    faults = differences(channel, subjects)
    if faults:
        raise IntegrityError(
            "the channel is not what its manifest says", where=channel, got="; ".join(faults[:20])
        )
    channels, inputs = _inputs(channel, manifest)
    platform = manifest.platform
    return ReleaseSubject(
        label=manifest.id,
        release=manifest.release,
        platforms=(platform,) if isinstance(platform, str) else platform,
        subjects=subjects,
        manifest=subjects[MANIFEST],
        channels=channels,
        inputs=inputs,
        built_at=manifest.generated_at or "",
    )


def _inputs(channel: Path, manifest: Manifest) -> tuple[tuple[str, ...], tuple[Input, ...]]:
    """The upstream channels; the lock, what it names, and the label's own packages."""
    own = [
        Input(row.path, f"urn:repack:bundle:{manifest.id}:{row.path}", row.sha256 or "")
        for row in manifest.artifacts
        if row.path.startswith(f"noarch/{manifest.id}-")
    ]
    if not (channel / _LOCK).is_file():
        return (), tuple(own)
    lock = read_lock(channel / _LOCK)
    digest = hashlib.sha256(lock.data).hexdigest()
    records = {record.path: record for found in lock.records.values() for record in found}
    upstream = [
        Input(path, _clean(record.url), record.sha256) for path, record in sorted(records.items())
    ]
    named = Input(_LOCK, f"urn:repack:lock:{manifest.id}", digest)
    return tuple(map(_clean, lock.channels)), (named, *upstream, *own)


def _clean(url: str) -> str:
    from repack.urls import redact_url

    return redact_url(url)


def differences(channel: Path, subjects: Mapping[str, str]) -> list[str]:
    """What in ``channel`` is not as ``subjects`` say; foreign litter is no difference."""
    found = []
    there = set(walk(channel))
    for path, digest in sorted(subjects.items()):
        if path not in there:
            found.append(f"{path}: missing")
        elif digests.digest(channel / path)[0] != digest:
            found.append(f"{path}: changed")
    extra = sorted(there - set(subjects))
    return found + [f"{path}: not listed" for path in extra if not layout.is_unlisted(path)]


class Checked(Struct, frozen=True):
    """What checking found; ``entries`` counts the log."""

    entries: int
    faults: tuple[str, ...]
    release: str | None = None


def check(folder: Path, known: Sequence[PublicHalf], channel: Path | None) -> Checked:
    """Check envelopes, reports and the log's chain; and a channel against its notarisation.

    Raises:
        PlaceError: the folder or the channel cannot be read.
    """
    faults: list[str] = []
    with atomic.os_errors_at(folder):
        papers = {path.name for path in folder.iterdir() if path.suffix == ".json"}
    try:
        log = _log(folder)
    except IntegrityError as error:
        return Checked(0, (error.what,))
    sealed: list[VerifiedStatement] = []
    for number, line in enumerate(log, 1):
        try:
            sealed.append(_read(folder, line, known))
        except RepackError as error:
            faults.append(f"entry {number}: {error.what}")
            continue
        faults += _entry_faults(folder, sealed[-1], log[: number - 1], line)
    mentioned = {
        name
        for one in sealed
        for name in (statement.envelope_file(one), statement.report_file(one))
    }
    if not faults:
        faults += [f"{name}: the log does not know it" for name in sorted(papers - mentioned)]
    if not log:
        faults.append("the log is empty")
    if channel is None:
        return Checked(len(log), tuple(faults))
    release, more = _channel_faults(channel, sealed)
    return Checked(len(log), (*faults, *more), release)


def _entry_faults(
    folder: Path, sealed: VerifiedStatement, before: Sequence[bytes], line: bytes
) -> list[str]:
    number = len(before) + 1
    found = []
    inner = sealed.document["predicate"]["buildDefinition"]["internalParameters"]["log"]
    if (inner["sequence"], inner["previous"]) != statement.next_place(before):
        found.append(f"entry {number}: does not follow the one before it")
    if statement.entry(sealed) != line:
        found.append(f"entry {number}: is not what its envelope says")
    name = statement.report_file(sealed)
    path = folder / name
    if not path.is_file() or atomic.read(path, statement.ENVELOPE_LIMIT) != statement.report(
        sealed
    ):
        found.append(f"{name}: the report is not what the envelope says")
    return found


def _channel_faults(
    channel: Path, sealed: Sequence[VerifiedStatement]
) -> tuple[str | None, list[str]]:
    data = atomic.read(channel / MANIFEST, MAX_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    about = [one for one in sealed if one.manifest == digest]
    if not about:
        return None, [f"{channel}: this release was not notarised"]
    return about[-1].name, differences(channel, about[-1].subjects)


def documents(
    folder: Path, name: str, manifest: str, known: Sequence[PublicHalf]
) -> dict[str, bytes]:
    """Envelope and report of one release, by file name, checked but for their place in the log.

    Args:
        folder: where they are kept.
        name: the release, as in ``halkbank-12``.
        manifest: SHA-256 of its manifest.
        known: public keys that it may be signed with.

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
    sealed = statement.verify_envelope(atomic.read(path, statement.ENVELOPE_LIMIT), known, path)
    if (sealed.name, sealed.manifest) != (name, manifest):
        raise IntegrityError(
            "the notarisation is about another release",
            where=path,
            expected=f"{name}, manifest {manifest}",
            got=f"{sealed.name}, manifest {sealed.manifest}",
        )
    report = folder / statement.report_file(sealed)
    if not report.is_file() or atomic.read(report, statement.ENVELOPE_LIMIT) != statement.report(
        sealed
    ):
        raise IntegrityError("the report is not what the envelope says", where=report)
    return {path.name: sealed.data, report.name: statement.report(sealed)}


def check_copy(folder: Path, known: Sequence[PublicHalf], channel: Path) -> Checked:
    """Check a channel against copied papers, such as a medium's, which come without the log.

    Raises:
        UsageError: the papers of this release are not there.
        PlaceError: a file cannot be read.
    """
    data = atomic.read(channel / MANIFEST, MAX_BYTES)
    found = parse(data, channel / MANIFEST)
    name, digest = f"{found.id}-{found.release}", hashlib.sha256(data).hexdigest()
    try:
        envelope = documents(folder, name, digest, known)[f"{name}.intoto.json"]
    except (IntegrityError, SignatureError) as error:
        return Checked(0, (error.what,))
    subjects = statement.verify_envelope(envelope, known, folder).subjects
    others = {f"{path}: not listed" for path in extra_files(channel)}
    faults = [fault for fault in differences(channel, subjects) if fault not in others]
    return Checked(0, tuple(faults), name)


def _log(folder: Path) -> list[bytes]:
    path = folder / LOG
    return statement.lines(atomic.read(path, statement.LOG_LIMIT), path) if path.exists() else []


def _read(folder: Path, line: bytes, known: Sequence[PublicHalf]) -> VerifiedStatement:
    row = loads(line, LOG, statement.LOG_LIMIT)
    name = row.get("envelope") if isinstance(row, dict) else None
    if not isinstance(name, str) or "/" in name or "\\" in name:
        raise IntegrityError("an entry of the log names no envelope", where=folder / LOG)
    return statement.verify_envelope(
        atomic.read(folder / name, statement.ENVELOPE_LIMIT), known, folder / name
    )


def _papers(folder: Path, sealed: VerifiedStatement, *, changed: bool) -> Notarized:
    inner = sealed.document["predicate"]["buildDefinition"]["internalParameters"]
    return Notarized(
        folder / statement.envelope_file(sealed),
        folder / statement.report_file(sealed),
        int(inner["log"]["sequence"]),
        changed,
    )
