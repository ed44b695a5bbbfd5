"""What is done with a licence store: look, install, revoke, recover."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from repack.errors import BusyError, LicenseError, PlaceError, RepackError, SpaceError, UsageError
from repack.license.license import Circumstances, LicenseVerdict
from repack.timestamps import stamp

if TYPE_CHECKING:
    from datetime import datetime

    from repack.keys.shared_key import SharedKey
    from repack.license.fingerprint import Device
    from repack.license.license import License
    from repack.license.store import LicenseStore, OpenStore

_TIME_STEP: Final = timedelta(hours=24)

OldFormat = Literal["rewrite", "leave"]


class LicenseQuery(Struct, frozen=True):
    """Who asks about which store, and what they know."""

    vault: LicenseStore
    device: Device
    now: datetime
    key: SharedKey | None = None
    label: str | None = None

    def circumstances(self, opened: OpenStore) -> Circumstances:
        """Under which the licences of ``opened`` are judged."""
        ledger = opened.ledger
        return Circumstances(
            opened.fingerprint, ledger.latest(self.now), self.key, self.label, ledger.recoveries
        )


class StoreStatus(Struct, frozen=True):
    """A store as it was found.

    Attributes:
        issues: what is wrong with the store, not with a licence.
        notes: what is worth saying but no fault.
    """

    opened: OpenStore
    verdicts: tuple[LicenseVerdict, ...]
    issues: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether there is a licence and nothing is wrong with any, nor with the store."""
        return bool(self.verdicts) and not self.issues and all(v.is_right for v in self.verdicts)


def store_status(asking: LicenseQuery, old_format: OldFormat = "rewrite") -> StoreStatus:
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
    return StoreStatus(opened, verdicts, store_issues(opened, asking.now), notes)


def verify(asking: LicenseQuery, found: License | None) -> StoreStatus:
    """Judge one licence, or all of the store, and remember the time when all is right.

    The time is not remembered otherwise: a clock that once ran ahead must not lock a device out.

    Raises:
        LicenseError: the store does not open.
        FingerprintError: the device cannot be told.
        PlaceError: there is no store.
    """
    finding = store_status(asking)
    if found is not None:
        opened = finding.opened
        verdict = opened.ledger.verdict(found.raw, asking.circumstances(opened))
        finding = replace(finding, verdicts=(verdict,))
    if not finding.is_right:
        return finding
    return replace(finding, notes=(*finding.notes, *_remember(asking, finding.opened)))


def install(asking: LicenseQuery, found: License) -> StoreStatus:
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
        issues = store_issues(opened, asking.now)
        opened = vault.save(replace(opened, ledger=ledger.seen(asking.now)))
    return StoreStatus(opened, ledger.verdicts(asking.circumstances(opened)), issues)


def revoke(asking: LicenseQuery, license_id: str, reason: str) -> StoreStatus:
    """Revoke a licence in the store, for good.

    Raises:
        UsageError: no such licence in the store.
        LicenseError: the store does not open.
        BusyError: somebody else changes the store.
    """
    with asking.vault.lock():
        opened = asking.vault.open(asking.device)
        ledger = opened.ledger.revoke(license_id, asking.now, reason)
        issues = store_issues(opened, asking.now)
        opened = asking.vault.save(replace(opened, ledger=ledger))
    return StoreStatus(opened, ledger.verdicts(asking.circumstances(opened)), issues)


def _open(asking: LicenseQuery) -> tuple[OpenStore, tuple[str, ...]]:
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


def store_issues(opened: OpenStore, now: datetime) -> tuple[str, ...]:
    """What is wrong with an open store that can still be used: its clock or its generation went back."""
    found: list[str] = []
    if opened.ledger.is_set_back(now):
        seen = stamp(opened.ledger.latest(now))
        found.append(f"clock-set-back: it says {stamp(now)}, the store has seen {seen}")
    if opened.newer is not None:
        found.append(
            f"store-put-back: this is generation {opened.generation}, {opened.newer} was here"
        )
    return tuple(found)


def _remember(asking: LicenseQuery, opened: OpenStore) -> tuple[str, ...]:
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
