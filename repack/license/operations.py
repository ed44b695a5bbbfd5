"""Operations on a licence store: judge its licences, install one, revoke one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.errors import LicenseError
from repack.license.license import Circumstances, LicenseVerdict
from repack.timestamps import stamp

if TYPE_CHECKING:
    from datetime import datetime

    from repack.keys.shared_key import SharedKey
    from repack.license.fingerprint import Device
    from repack.license.license import License
    from repack.license.store import LicenseStore, OpenStore


_OLD_FORMAT: Final = (
    "the store is in the old, weak format; the next command that changes it writes it anew and keeps"
    " a copy"
)


class LicenseQuery(Struct, frozen=True):
    """A store, the device that opens it, and what its licences are judged by."""

    store: LicenseStore
    device: Device
    now: datetime
    key: SharedKey | None = None
    label: str | None = None

    def circumstances(self, opened: OpenStore) -> Circumstances:
        """What the licences of ``opened`` are judged by."""
        ledger = opened.ledger
        return Circumstances(
            opened.fingerprint, ledger.latest(self.now), self.key, self.label, ledger.recoveries
        )

    def status(self, opened: OpenStore, notes: tuple[str, ...] = ()) -> StoreStatus:
        """Judge the store and every licence in it."""
        verdicts = opened.ledger.verdicts(self.circumstances(opened))
        return StoreStatus(opened, verdicts, store_issues(opened, self.now), notes)


class StoreStatus(Struct, frozen=True):
    """An open store and the verdicts on its licences.

    Attributes:
        issues: what is wrong with the store, not with a licence.
        notes: for people; no fault.
    """

    opened: OpenStore
    verdicts: tuple[LicenseVerdict, ...]
    issues: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether there is a licence and nothing is wrong with any, nor with the store."""
        return bool(self.verdicts) and not self.issues and all(v.is_right for v in self.verdicts)


def store_status(query: LicenseQuery) -> StoreStatus:
    """Judge every licence of the store; nothing is written.

    Raises:
        LicenseError: the store does not open.
        FingerprintError: the device's fingerprint cannot be computed.
        PlaceError: there is no store.
    """
    opened = query.store.open(query.device)
    notes = (_OLD_FORMAT,) if opened.migrated else ()
    verdicts = opened.ledger.verdicts(query.circumstances(opened))
    return StoreStatus(opened, verdicts, store_issues(opened, query.now), notes)


def verify(query: LicenseQuery, license_: License | None) -> StoreStatus:
    """Judge one licence, or all of the store; nothing is written.

    Raises:
        LicenseError: the store does not open.
        FingerprintError: the device's fingerprint cannot be computed.
        PlaceError: there is no store.
    """
    status = store_status(query)
    if license_ is None:
        return status
    opened = status.opened
    verdict = opened.ledger.verdict(license_.raw, query.circumstances(opened))
    return replace(status, verdicts=(verdict,))


def install(query: LicenseQuery, license_: License) -> StoreStatus:
    """Put a licence into the store; it is created when there is none.

    Raises:
        LicenseError: for another device or label, expired, revoked or badly signed; or the store
            does not open. Nothing was written.
        FingerprintError: the device's fingerprint cannot be computed.
        BusyError: somebody else changes the store.
    """
    store = query.store
    with store.lock():
        opened = store.open(query.device) if store.exists() else store.new(query.device)
        ledger = opened.ledger.install(license_)
        verdict = ledger.verdict(license_.raw, query.circumstances(opened))
        faults = [issue for issue in verdict.issues if issue != "not-yet"]
        if faults:
            raise LicenseError(
                "the licence is not installed: " + ", ".join(faults),
                where=license_.license_id,
                expected=f"this device: {opened.fingerprint}",
                hint="nothing was changed; ask the vendor for a licence for this device",
            )
        issues = store_issues(opened, query.now)
        opened = store.save(replace(opened, ledger=ledger.seen(query.now)))
    return StoreStatus(opened, ledger.verdicts(query.circumstances(opened)), issues)


def revoke(query: LicenseQuery, license_id: str, reason: str) -> StoreStatus:
    """Revoke a licence in the store, for good.

    Raises:
        UsageError: no such licence in the store.
        LicenseError: the store does not open.
        BusyError: somebody else changes the store.
    """
    with query.store.lock():
        opened = query.store.open(query.device)
        ledger = opened.ledger.revoke(license_id, query.now, reason)
        issues = store_issues(opened, query.now)
        opened = query.store.save(replace(opened, ledger=ledger))
    return StoreStatus(opened, ledger.verdicts(query.circumstances(opened)), issues)


def store_issues(opened: OpenStore, now: datetime) -> tuple[str, ...]:
    """The faults of a store that can still be used: its clock or its generation went back."""
    issues: list[str] = []
    if opened.ledger.is_set_back(now):
        seen = stamp(opened.ledger.latest(now))
        issues.append(f"clock-set-back: it says {stamp(now)}, the store has seen {seen}")
    if opened.newer is not None:
        issues.append(
            f"store-put-back: this is generation {opened.generation}, {opened.newer} was here"
        )
    return tuple(issues)
