"""What is done with a licence store: look, install, revoke, recover."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from repack.errors import BusyError, LicenseError, PlaceError, RepackError, SpaceError, UsageError
from repack.fs import atomic
from repack.keys.signed_json import seal
from repack.license.fingerprint import FingerprintDocument, Told
from repack.license.license import Circumstances, Verdict
from repack.license.recovery_report import KIND, LIMIT, Report, file_of, link
from repack.license.store import Opened, Vault, refuse_symlinks
from repack.timestamps import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from repack.keys.shared_key import Key
    from repack.license.fingerprint import Device
    from repack.license.license import License

_TIME_STEP: Final = timedelta(hours=24)
_MAX_REPORTS: Final = 10_000

OldFormat = Literal["rewrite", "leave"]


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks about which store, and what they know."""

    vault: Vault
    device: Device
    now: datetime
    key: Key | None = None
    label: str | None = None

    def circumstances(self, opened: Opened) -> Circumstances:
        """Under which the licences of ``opened`` are judged."""
        ledger = opened.ledger
        return Circumstances(
            opened.fingerprint, ledger.latest(self.now), self.key, self.label, ledger.recoveries
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """A store as it was found.

    Attributes:
        issues: what is wrong with the store, not with a licence.
        notes: what is worth saying but no fault.
    """

    opened: Opened
    verdicts: tuple[Verdict, ...]
    issues: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether there is a licence and nothing is wrong with any, nor with the store."""
        return bool(self.verdicts) and not self.issues and all(v.is_right for v in self.verdicts)


def look(asking: Asking, old_format: OldFormat = "rewrite") -> Finding:
    """Judge every licence of the store.

    Args:
        asking: who asks.
        old_format: whether a store of the old format is written anew, or left as it is.

    Raises:
        LicenseError: the store does not open.
        FingerprintError: the device cannot be told.
        PlaceError: there is no store.
    """
    opened, notes = (
        _open(asking) if old_format == "rewrite" else (asking.vault.open(asking.device), ())
    )
    verdicts = opened.ledger.verdicts(asking.circumstances(opened))
    return Finding(opened, verdicts, _issues(opened, asking.now), notes)


def verify(asking: Asking, found: License | None) -> Finding:
    """Judge one licence, or all of the store, and remember the time when all is right.

    The time is not remembered otherwise: a clock that once ran ahead must not lock a device out.

    Raises:
        LicenseError: the store does not open.
        FingerprintError: the device cannot be told.
        PlaceError: there is no store.
    """
    finding = look(asking)
    if found is not None:
        opened = finding.opened
        verdict = opened.ledger.verdict(found.raw, asking.circumstances(opened))
        finding = replace(finding, verdicts=(verdict,))
    if not finding.is_right:
        return finding
    return replace(finding, notes=(*finding.notes, *_remember(asking, finding.opened)))


def install(asking: Asking, found: License) -> Finding:
    """Put a licence into the store; the store is made when there is none.

    Raises:
        LicenseError: for another device or label, expired, revoked or badly signed; or the store
            does not open. Nothing was written.
        FingerprintError: the device cannot be told.
        BusyError: somebody else changes the store.
    """
    vault = asking.vault
    with vault.lock():
        opened = vault.open(asking.device) if vault.exists() else vault.new(asking.device)
        ledger = opened.ledger.install(found)
        verdict = ledger.verdict(found.raw, asking.circumstances(opened))
        faults = [issue for issue in verdict.issues if issue != "not-yet"]
        if faults:
            raise LicenseError(
                "the licence is not installed: " + ", ".join(faults),
                where=found.license_id,
                expected=f"this device: {opened.fingerprint}",
                hint="nothing was changed; ask the vendor for a licence for this device",
            )
        issues = _issues(opened, asking.now)
        opened = vault.save(replace(opened, ledger=ledger.seen(asking.now)))
    return Finding(opened, ledger.verdicts(asking.circumstances(opened)), issues)


def revoke(asking: Asking, license_id: str, reason: str) -> Finding:
    """Revoke a licence in the store, for good.

    Raises:
        UsageError: no such licence in the store.
        LicenseError: the store does not open.
        BusyError: somebody else changes the store.
    """
    with asking.vault.lock():
        opened = asking.vault.open(asking.device)
        ledger = opened.ledger.revoke(license_id, asking.now, reason)
        issues = _issues(opened, asking.now)
        opened = asking.vault.save(replace(opened, ledger=ledger))
    return Finding(opened, ledger.verdicts(asking.circumstances(opened)), issues)


def _open(asking: Asking) -> tuple[Opened, tuple[str, ...]]:
    """Open the store; one of the old format is written anew, where that can be done."""
    opened = asking.vault.open(asking.device)
    if not opened.migrated:
        return opened, ()
    try:
        with asking.vault.lock():
            opened = asking.vault.open(asking.device)
            if opened.migrated:
                asking.vault.save(opened)
    except (BusyError, PlaceError, SpaceError, UsageError) as error:
        return opened, (f"the store stays in the old, weak format: {error.what}",)
    return opened, ("the store was found in the old format and written anew",)


def _issues(opened: Opened, now: datetime) -> tuple[str, ...]:
    found: list[str] = []
    if opened.ledger.is_set_back(now):
        seen = stamp(opened.ledger.latest(now))
        found.append(f"clock-set-back: it says {stamp(now)}, the store has seen {seen}")
    if opened.newer is not None:
        found.append(
            f"store-put-back: this is generation {opened.generation}, {opened.newer} was here"
        )
    return tuple(found)


def _remember(asking: Asking, opened: Opened) -> tuple[str, ...]:
    highest = opened.ledger.highest
    if highest is not None and asking.now < highest + _TIME_STEP:
        return ()
    try:
        with asking.vault.lock():
            fresh = asking.vault.open(asking.device)
            asking.vault.save(replace(fresh, ledger=fresh.ledger.seen(asking.now)), "nothing")
    except RepackError as error:
        return (f"the time could not be recorded: {error.what}",)
    return ()


@dataclass(frozen=True, slots=True)
class Recovery:
    """A store to be moved to another device.

    Attributes:
        asking: the store, and the new device.
        old: the device it is bound to.
        output: where the store goes; may be where it is.
        report: the file to write.
        tags: the new device's factor hashes, when it is this machine.
    """

    asking: Asking
    old: FingerprintDocument
    output: Vault
    report: Path
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recovered:
    """The report, and the licences as they stand on the new device."""

    report: Mapping[str, Any]
    finding: Finding
    resumed: bool = False


def recover(job: Recovery) -> Recovered:
    """Bind a store to another device: keep the old one, write, prove, report.

    The report's file appears with the store or not at all; when a kill parts them, the next call
    writes the report that the store remembers.

    Raises:
        LicenseError: the store does not open with the old fingerprint.
        UsageError: nothing to recover, a report of that name exists, or a symlink is in the way.
        BusyError: another recovery is under way.
        SpaceError: the disk is full; the store is as it was.
    """
    source, output = job.asking.vault, job.output
    refuse_symlinks(output.path, job.report)
    _make_folder(job.report.parent)
    folder_lock = atomic.exclusive(job.report.parent / ".recovery.lock", "a recovery")
    with contextlib.ExitStack() as locks:
        for lock in (output.lock(), folder_lock):
            locks.enter_context(lock)
        done = _resumed(job)
        if done is not None:
            return done
        if job.report.exists():
            raise UsageError("there is a report of that name", where=job.report)
        opened = source.open(Told(job.old.fingerprint))
        fingerprint = job.asking.device.fingerprint()
        if fingerprint == opened.fingerprint:
            raise UsageError("the store is bound to this device already", where=source.path)
        if opened.migrated and source.path == output.path:
            opened = output.save(opened)  # so that there is a generation to keep
        return _write(job, opened)


def _write(job: Recovery, opened: Opened) -> Recovered:
    kept = job.output.keep()
    backup = kept if job.output.path == job.asking.vault.path else job.asking.vault.path
    report = seal(_draft(job, opened, backup), job.asking.key or opened.ledger.key)
    ledger = opened.ledger.recovered(report)
    device = job.asking.device
    bound = Opened(ledger, device.fingerprint(), device.names, opened.generation)
    with atomic.writing(job.report) as stream:
        # All that needs space is on disk before the store is touched; what is left is a rename
        stream.write(file_of(report))
        stream.flush()
        os.fsync(stream.fileno())
        bound = job.output.save(bound)
    verdicts = ledger.verdicts(job.asking.circumstances(bound))
    return Recovered(report, Finding(bound, verdicts, _issues(bound, job.asking.now)))


def _draft(job: Recovery, opened: Opened, backup: Path | None) -> dict[str, object]:
    changed = job.old.differing(job.tags) if job.tags else ()
    return {
        "kind": KIND,
        "version": 1,
        **link(reports_in(job.report.parent)),
        "recovered_at": stamp(job.asking.now),
        "store_path": str(job.asking.vault.path),
        "output_path": str(job.output.path),
        "backup": None if backup is None else str(backup),
        "generation": opened.generation,
        "old_fingerprint": opened.fingerprint,
        "new_fingerprint": job.asking.device.fingerprint(),
        "changed_factors": list(changed) if job.old.tags and job.tags else None,
        "licenses": sorted(opened.ledger.licenses),
    }


def _resumed(job: Recovery) -> Recovered | None:
    """Finish a recovery that was killed between the store and its report."""
    asking = replace(job.asking, vault=job.output)
    if not job.output.exists():
        return None
    try:
        opened = job.output.open(asking.device)
    except RepackError:
        return None
    last = opened.ledger.recoveries[-1] if opened.ledger.recoveries else {}
    if last.get("old_fingerprint") != job.old.fingerprint or opened.migrated:
        return None
    for known in reports_in(job.report.parent):
        if dict(known.document) == dict(last):
            if known.name != job.report.name:
                what = "the store was recovered already"
                raise UsageError(what, where=job.output.path, got=f"see {known.name}")
            break
    else:
        if job.report.exists():
            raise UsageError("there is a report of that name", where=job.report)
        atomic.write(job.report, file_of(last))
    verdicts = opened.ledger.verdicts(asking.circumstances(opened))
    return Recovered(last, Finding(opened, verdicts, _issues(opened, asking.now)), resumed=True)


def reports_in(folder: Path) -> list[Report]:
    """Every report of a recovery in a folder; other files are passed over.

    Raises:
        PlaceError: the folder cannot be read.
    """
    with atomic.faults_at(folder):
        paths = sorted(
            path for path in folder.iterdir() if path.suffix == ".json" and path.is_file()
        )
    if len(paths) > _MAX_REPORTS:
        raise UsageError("too many files for a folder of reports", where=folder, got=len(paths))
    found = [Report.parse(atomic.read(path, LIMIT), path.name) for path in paths]
    return [report for report in found if report is not None]


def _make_folder(folder: Path) -> None:
    with atomic.faults_at(folder):
        folder.mkdir(parents=True, exist_ok=True)
