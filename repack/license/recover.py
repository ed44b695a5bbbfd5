"""Bind a licence store to a device's new fingerprint, and write a signed report of it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.errors import RepackError, UsageError
from repack.fs import atomic, beneath
from repack.fs.links import refuse_symlinks
from repack.fs.locks import exclusive
from repack.keys.signed_json import sign_json
from repack.license.fingerprint import FingerprintDocument, GivenFingerprint
from repack.license.recovery_report import KIND, LIMIT, RecoveryReport, chain_link, to_bytes
from repack.license.store import LicenseStore, OpenStore
from repack.timestamps import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.license.operations import LicenseQuery, StoreStatus


_MAX_REPORTS: Final = 10_000


class RecoveryJob(Struct, frozen=True):
    """A store to be bound to another device.

    Attributes:
        query: the store, and the new device.
        old: the device it is bound to.
        output: the store that is written; may be the same.
        report: the file to write.
        tags: the new device's factor hashes, when it is this machine.
    """

    query: LicenseQuery
    old: FingerprintDocument
    output: LicenseStore
    report: Path
    tags: Mapping[str, str]


class RecoveryResult(Struct, frozen=True):
    """The report, and the store on the new device."""

    report: Mapping[str, Any]
    status: StoreStatus
    resumed: bool = False


def recover(job: RecoveryJob) -> RecoveryResult:
    """Bind a store to another device: keep the old generation, write, read back, report.

    The report's file appears with the store or not at all; after a kill between the two, the next
    call writes the report that the store holds a copy of.

    Raises:
        LicenseError: the store does not open with the old fingerprint.
        UsageError: the device did not change, a report of that name exists, or a symlink is in the way.
        BusyError: another recovery is under way.
        SpaceError: the disk is full; the store is as it was.
    """
    source, output = job.query.store, job.output
    refuse_symlinks(output.path, job.report)
    with atomic.os_errors_at(job.report.parent):
        beneath.make_folders(job.report.parent)
    folder_lock = exclusive(job.report.parent / ".recovery.lock", "a recovery")
    with contextlib.ExitStack() as locks:
        for lock in (output.lock(), folder_lock):
            locks.enter_context(lock)
        resumed = _resumed(job)
        if resumed is not None:
            return resumed
        if job.report.exists():
            raise UsageError("there is a report of that name", where=job.report)
        opened = source.open(GivenFingerprint(job.old.fingerprint))
        fingerprint = job.query.device.fingerprint()
        if fingerprint == opened.fingerprint and not _put_back(job, opened):
            raise UsageError("the store is bound to this device already", where=source.path)
        if opened.migrated and source.path == output.path:
            opened = output.save(opened)  # so that there is a generation to keep
        return _write(job, opened)


def _write(job: RecoveryJob, opened: OpenStore) -> RecoveryResult:
    kept = job.output.keep()
    backup = kept if job.output.path == job.query.store.path else job.query.store.path
    report = sign_json(_draft(job, opened, backup), job.query.key or opened.ledger.key)
    ledger = opened.ledger.recovered(report)
    device = job.query.device
    bound = OpenStore(ledger, device.fingerprint(), device.names, opened.generation)
    with atomic.writing(job.report) as stream:
        # The report is on disk before the store is written: only a rename of it can still fail
        stream.write(to_bytes(report))
        stream.flush()
        os.fsync(stream.fileno())
        bound = job.output.save(bound)
    return RecoveryResult(report, job.query.status(bound))


def _put_back(job: RecoveryJob, opened: OpenStore) -> int | None:
    """The generation that was here, when an older store was put back; else None."""
    newest = max(opened.newer or 0, job.output.newest_generation())
    return newest if newest > opened.generation else None


def _reason(job: RecoveryJob, opened: OpenStore) -> str:
    """Why the store is bound anew, for the report."""
    reasons = []
    if (newest := _put_back(job, opened)) is not None:
        reasons.append(
            f"store-put-back: {job.query.store.path.name} is generation {opened.generation},"
            f" {newest} was here"
        )
    if opened.fingerprint != job.query.device.fingerprint():
        reasons.append("other-hardware")
    return "; ".join(reasons)


def _draft(job: RecoveryJob, opened: OpenStore, backup: Path | None) -> dict[str, object]:
    changed = job.old.differing(job.tags) if job.tags else ()
    return {
        "kind": KIND,
        "version": 1,
        **chain_link(reports_in(job.report.parent)),
        "recovered_at": stamp(job.query.now),
        "store_path": str(job.query.store.path),
        "output_path": str(job.output.path),
        "backup": None if backup is None else str(backup),
        "generation": opened.generation,
        "reason": _reason(job, opened),
        "old_fingerprint": opened.fingerprint,
        "new_fingerprint": job.query.device.fingerprint(),
        "changed_factors": list(changed) if job.old.tags and job.tags else None,
        "licenses": sorted(opened.ledger.licenses),
    }


def _resumed(job: RecoveryJob) -> RecoveryResult | None:
    """Finish a recovery that was killed between the store and its report."""
    query = replace(job.query, store=job.output)
    if not job.output.exists():
        return None
    try:
        opened = job.output.open(query.device)
    except RepackError:
        return None
    last = opened.ledger.recoveries[-1] if opened.ledger.recoveries else {}
    if last.get("old_fingerprint") != job.old.fingerprint or opened.migrated or opened.newer:
        return None
    for report in reports_in(job.report.parent):
        if dict(report.document) == dict(last):
            if report.name != job.report.name:
                what = "the store was recovered already"
                raise UsageError(what, where=job.output.path, got=f"see {report.name}")
            break
    else:
        if job.report.exists():
            raise UsageError("there is a report of that name", where=job.report)
        atomic.write(job.report, to_bytes(last))
    return RecoveryResult(last, query.status(opened), resumed=True)


def reports_in(folder: Path) -> list[RecoveryReport]:
    """Every report of a recovery in a folder; other files are passed over.

    Raises:
        PlaceError: the folder cannot be read.
    """
    with atomic.os_errors_at(folder):
        paths = [folder / entry.name for entry in beneath.scan(folder)]
        paths = [path for path in paths if path.suffix == ".json" and path.is_file()]
    if len(paths) > _MAX_REPORTS:
        raise UsageError("too many files for a folder of reports", where=folder, got=len(paths))
    reports = [RecoveryReport.parse(atomic.read(path, LIMIT), path.name) for path in paths]
    return [report for report in reports if report is not None]
