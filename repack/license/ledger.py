"""What lies in a licence store once it is open: licences, revocations, recoveries, the latest time.

Every change gives a new ledger. Fields this version does not know are kept.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import field
from msgspec.structs import replace

from repack.errors import LicenseError, UsageError
from repack.keys.shared_key import SharedKey
from repack.license.fingerprint import Fingerprint
from repack.license.license import STORE_KEY, Circumstances, LicenseVerdict, judge_license
from repack.structs import Value
from repack.timestamps import parse_date, stamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from repack.license.license import License

# A clock may be wrong by a time zone, or be set right by a minute; who turns it back further does
# so to gain time. What is gained at most is this, once: the highest time never falls.
CLOCK_SLACK: Final = timedelta(hours=26)
_OWN: Final = frozenset({"licenses", "revoked", "recoveries", "highest_time", "report_key"})


class Ledger(Value, frozen=True):
    """An open store.

    Attributes:
        licenses: signed licences by id, as they were installed.
        revoked: per id, when and why.
        recoveries: signed reports, oldest first.
        highest: the highest time any command has seen.
        report_key: the secret this store signs with when there is no vendor's key.
        other: fields of a later version.
    """

    hidden_fields: ClassVar = ("report_key",)

    report_key: bytes
    licenses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    revoked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recoveries: tuple[Mapping[str, Any], ...] = ()
    highest: datetime | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: object, where: object) -> Ledger:
        """Read the ledger of a store of this format.

        Raises:
            LicenseError: it makes no sense.
        """
        if not isinstance(raw, dict):
            raise LicenseError("the store holds no ledger", where=where)
        highest = raw.get("highest_time")
        try:
            return cls(
                report_key=base64.b64decode(raw["report_key"], validate=True),
                licenses=_by_id(raw["licenses"]),
                revoked=_by_id(raw["revoked"]),
                recoveries=tuple(_by_id(dict(enumerate(raw["recoveries"]))).values()),
                highest=None if highest is None else parse_date(highest, "start", where),
                other={name: value for name, value in raw.items() if name not in _OWN},
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise LicenseError("the store's ledger is damaged", where=where) from error

    @classmethod
    def of_version_2(cls, raw: object, report_key: bytes, where: object) -> Ledger:
        """Read what the older tool kept: ``licenses`` by id, each with a ``status``.

        Raises:
            LicenseError: it makes no sense.
        """
        held = raw.get("licenses", {}) if isinstance(raw, dict) else None
        if isinstance(held, list):
            held = {str(row.get("license_id")): row for row in held if isinstance(row, dict)}
        if not isinstance(raw, dict) or not isinstance(held, dict):
            raise LicenseError("the old store holds no licences", where=where)
        licenses: dict[str, Mapping[str, Any]] = {}
        revoked: dict[str, Mapping[str, Any]] = {}
        for license_id, row in held.items():
            if not isinstance(row, dict):
                continue
            inner = next(
                (row[n] for n in ("license", "payload") if isinstance(row.get(n), dict)), row
            )
            licenses[license_id] = {"license_id": license_id, **inner}
            if row.get("status") == "revoked":
                revoked[license_id] = {"at": None, "reason": "revoked in the old store"}
        other = {name: value for name, value in raw.items() if name not in _OWN}
        return cls(report_key, licenses, revoked, other=other)

    def to_json(self) -> dict[str, object]:
        """The form that is encrypted."""
        return {
            **self.other,
            "licenses": dict(self.licenses),
            "revoked": dict(self.revoked),
            "recoveries": list(self.recoveries),
            "highest_time": stamp(self.highest) if self.highest else None,
            "report_key": base64.b64encode(self.report_key).decode("ascii"),
        }

    @property
    def key(self) -> SharedKey:
        """The store's own key for reports, named so that nobody takes it for the vendor's."""
        return SharedKey(
            f"{STORE_KEY}{Fingerprint.of(self.report_key)[:7].lower()}", self.report_key
        )

    def is_set_back(self, now: datetime) -> bool:
        """Whether the clock is behind a time this store has seen."""
        return self.highest is not None and now < self.highest - CLOCK_SLACK

    def latest(self, now: datetime) -> datetime:
        """The later of the clock and the highest time seen: licences run out by this one."""
        return max(now, self.highest) if self.highest else now

    def seen(self, now: datetime) -> Ledger:
        """With ``now`` remembered, if it is the highest time so far."""
        return replace(self, highest=self.latest(now))

    def install(self, found: License) -> Ledger:
        """With a licence added, or exchanged for one of the same id.

        Raises:
            LicenseError: that id was revoked here.
        """
        if found.license_id in self.revoked:
            raise LicenseError(
                "this licence was revoked",
                got=found.license_id,
                hint="ask the vendor for a new one",
            )
        return replace(self, licenses={**self.licenses, found.license_id: dict(found.raw)})

    def revoke(self, license_id: str, now: datetime, reason: str) -> Ledger:
        """With a licence revoked for good; its text stays, for the record.

        Raises:
            UsageError: no such licence here.
        """
        if license_id not in self.licenses:
            held = ", ".join(sorted(self.licenses)) or "none"
            raise UsageError("no such licence in the store", expected=held, got=license_id)
        row = {"at": stamp(now), "reason": reason}
        return replace(self, revoked={license_id: row, **self.revoked})

    def recovered(self, report: Mapping[str, Any]) -> Ledger:
        """With a recovery on record."""
        return replace(self, recoveries=(*self.recoveries, report))

    def verdicts(self, given: Circumstances) -> tuple[LicenseVerdict, ...]:
        """What is to be said of every licence in here."""
        return tuple(self.verdict(self.licenses[name], given) for name in sorted(self.licenses))

    def verdict(self, raw: Mapping[str, Any], given: Circumstances) -> LicenseVerdict:
        """Judge a licence, in here or not."""
        verdict = judge_license(raw, given)
        held = self.licenses.get(verdict.license_id)
        if verdict.license_id in self.revoked:
            verdict = _outranking(verdict, "revoked")
        elif held is None:
            verdict = _outranking(verdict, "missing-in-store")
        elif dict(held) != dict(raw):
            verdict = _outranking(verdict, "missing-in-store")
            verdict = replace(verdict, issues=(*verdict.issues, "another-of-this-id-in-store"))
        return verdict


def _outranking(verdict: LicenseVerdict, status: str) -> LicenseVerdict:
    """What the store knows comes after a bad signature and a wrong device, before the term."""
    issues = (*verdict.issues, status)
    if status == "revoked":
        firm = verdict.status == "bad-signature"
        return replace(verdict, status=verdict.status if firm else "revoked", issues=issues)
    firm = verdict.status in {"bad-signature", "fingerprint-mismatch"}
    return replace(verdict, status=verdict.status if firm else "missing-in-store", issues=issues)


def _by_id(rows: object) -> dict[Any, Mapping[str, Any]]:
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise TypeError("rows")
    return dict(rows)
