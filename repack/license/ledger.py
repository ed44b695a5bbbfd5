"""The content of an open licence store: licences, revocations, recoveries, the latest time.

Every change gives a new ledger. Fields this version does not know are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import field
from msgspec.structs import replace

from repack.codec.decode import Document, decode, encode
from repack.errors import LicenseError, UsageError
from repack.keys.shared_key import SharedKey
from repack.license.fingerprint import Fingerprint
from repack.license.license import (
    STORE_KEY,
    Circumstances,
    LicenseVerdict,
    convert_old,
    judge_license,
)
from repack.structs import Value
from repack.timestamps import parse_date, stamp

if TYPE_CHECKING:
    from datetime import datetime

    from repack.license.license import License, Status

# A clock may be wrong by a time zone, or be corrected by a minute; setting it back further is taken
# for an attempt to gain time. At most this much can be gained, once: the highest time never falls.
CLOCK_SLACK: Final = timedelta(hours=26)


class _LedgerFile(Document, frozen=True):
    licenses: Mapping[str, Mapping[str, Any]]
    revoked: Mapping[str, Mapping[str, Any]]
    recoveries: tuple[Mapping[str, Any], ...]
    report_key: bytes
    highest_time: str | None = None


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
    def of(cls, raw: Any, where: object) -> Ledger:
        """Read the ledger of a store of this format.

        Raises:
            LicenseError: it makes no sense.
        """
        file = decode(_LedgerFile, raw, where, "store's ledger", LicenseError)
        try:
            highest = None if (text := file.highest_time) is None else parse_date(text, "start")
        except UsageError as error:
            raise LicenseError(
                "the store's ledger is malformed", where=where, got=error.got
            ) from error
        return cls(
            file.report_key,
            file.licenses,
            file.revoked,
            file.recoveries,
            highest,
            _unknown_fields(raw),
        )

    @classmethod
    def of_version_2(cls, raw: Any, report_key: bytes, where: object) -> Ledger:
        """Read what the older tool kept: ``licenses`` by id, each with a ``status``.

        Raises:
            LicenseError: it makes no sense.
        """
        rows = raw.get("licenses", {}) if isinstance(raw, dict) else None
        if isinstance(rows, list):
            rows = {str(row.get("license_id")): row for row in rows if isinstance(row, dict)}
        if not isinstance(rows, dict):
            raise LicenseError("the old store holds no licences", where=where)
        licenses: dict[str, Mapping[str, Any]] = {}
        revoked: dict[str, Mapping[str, Any]] = {}
        for license_id, row in rows.items():
            if not isinstance(row, dict):
                continue
            inner = convert_old(row.get("license") if isinstance(row.get("license"), dict) else row)
            assert isinstance(inner, dict)  # noqa: S101 - it was a dict before
            licenses[license_id] = {"license_id": license_id, **inner}
            if row.get("status") == "revoked":
                revoked[license_id] = {"at": None, "reason": "revoked in the old store"}
        return cls(report_key, licenses, revoked, other=_unknown_fields(raw))

    def to_json(self) -> dict[str, object]:
        """The form that is encrypted."""
        file = _LedgerFile(
            self.licenses,
            self.revoked,
            self.recoveries,
            self.report_key,
            stamp(self.highest) if self.highest else None,
        )
        return {**self.other, **encode(file)}

    @property
    def key(self) -> SharedKey:
        """The store's own key for reports; its name begins with :data:`STORE_KEY`."""
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

    def install(self, license_: License) -> Ledger:
        """With a licence added, or replacing one of the same id.

        Raises:
            LicenseError: that id was revoked here.
        """
        if license_.license_id in self.revoked:
            raise LicenseError(
                "this licence was revoked",
                got=license_.license_id,
                hint="ask the vendor for a new one",
            )
        return replace(self, licenses={**self.licenses, license_.license_id: dict(license_.raw)})

    def revoke(self, license_id: str, now: datetime, reason: str) -> Ledger:
        """With a licence revoked for good; its text stays, for the record.

        Raises:
            UsageError: no such licence here.
        """
        if license_id not in self.licenses:
            license_ids = ", ".join(sorted(self.licenses)) or "none"
            raise UsageError("no such licence in the store", expected=license_ids, got=license_id)
        revocation = {"at": stamp(now), "reason": reason}
        return replace(self, revoked={license_id: revocation, **self.revoked})

    def recovered(self, report: Mapping[str, Any]) -> Ledger:
        """With a recovery added."""
        return replace(self, recoveries=(*self.recoveries, report))

    def verdicts(self, circumstances: Circumstances) -> tuple[LicenseVerdict, ...]:
        """The verdicts on all licences in the store, by licence id."""
        return tuple(
            self.verdict(self.licenses[license_id], circumstances)
            for license_id in sorted(self.licenses)
        )

    def verdict(self, raw: Mapping[str, Any], circumstances: Circumstances) -> LicenseVerdict:
        """Judge a licence, whether it is in the store or not."""
        verdict = judge_license(raw, circumstances)
        stored = self.licenses.get(verdict.license_id)
        if verdict.license_id in self.revoked:
            return _worsen(verdict, "revoked", ("bad-signature",))
        if stored is not None and dict(stored) == dict(raw):
            return verdict
        verdict = _worsen(verdict, "missing-in-store", ("bad-signature", "fingerprint-mismatch"))
        if stored is None:
            return verdict
        return replace(verdict, issues=(*verdict.issues, "another-of-this-id-in-store"))


def _worsen(verdict: LicenseVerdict, status: Status, graver: tuple[Status, ...]) -> LicenseVerdict:
    """The verdict with one more issue; the status becomes ``status`` unless it is a graver one."""
    issues = (*verdict.issues, status)
    status = verdict.status if verdict.status in graver else status
    return replace(verdict, status=status, issues=issues)


def _unknown_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {k: value for k, value in raw.items() if k not in _LedgerFile.__struct_fields__}
