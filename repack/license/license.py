"""A licence: who may run what, where and when; and the verdict on one.

Format (JSON): ``license_id``, ``customer``, ``label``, ``features``, ``fingerprints`` (any of them
will do), ``not_before``, ``not_after``, ``signature``. Fields this version does not know are kept
and stay signed. A date without a time means the whole day, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from msgspec import Struct
from msgspec.structs import replace

from repack.codec.canonical import loads
from repack.codec.decode import Document, decode
from repack.errors import LicenseError, RepackError, SignatureError, UsageError
from repack.keys.signed_json import verify_json
from repack.license.fingerprint import Fingerprint
from repack.names import LabelName
from repack.structs import Value
from repack.timestamps import parse_date

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from repack.keys.shared_key import SharedKey

LIMIT: Final = 1 << 20
_MAX_TEXT: Final = 200
# A device that is recovered without the vendor's key signs the report with a key from its own store.
# That shows which store was recovered, but does not permit to move a licence.
STORE_KEY: Final = "store:"
REISSUE: Final = (
    "ask the vendor for a new licence for this device: repack license issue --license-id ID"
    " --fingerprint FINGERPRINT"
)

Status = Literal[
    "valid",
    "not-yet",
    "expired",
    "fingerprint-mismatch",
    "bad-signature",
    "missing-in-store",
    "revoked",
]
Signed = Literal["valid", "bad", "unchecked"]


def convert_old(raw: object) -> object:
    """A licence of the older tool, ``{payload, signature}``, in today's form; others as they are.

    The signature stays valid where it is an HMAC-SHA384 of the payload as canonical JSON.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("payload"), dict) or "label" in raw:
        return raw
    signature = raw.get("signature")
    if isinstance(signature, str):
        signature = {"algorithm": "hmac-sha384", "value": signature, "key_id": raw.get("key_id")}
    return {**raw["payload"], "signature": signature}


class License(Value, Document, frozen=True):
    """A licence's fields; ``raw`` is the whole signed object."""

    hidden_fields: ClassVar = ("raw",)
    uncompared_fields: ClassVar = ("raw",)

    license_id: str
    customer: str
    label: LabelName
    features: tuple[str, ...]
    fingerprints: tuple[Fingerprint, ...]
    not_before: str
    not_after: str
    raw: Mapping[str, Any]

    @classmethod
    def parse(cls, data: bytes, where: object) -> Self:
        """Read a licence file.

        Raises:
            LicenseError: not an object, or a field is missing or makes no sense.
            IntegrityError: not strict JSON.
        """
        return cls.of(loads(data, where, LIMIT), where)

    @classmethod
    def of(cls, raw: object, where: object = None) -> Self:
        """Read a licence's fields; the signature is not looked at.

        Raises:
            LicenseError: not an object, or a field is missing or makes no sense.
        """
        today = convert_old(raw)
        document = {**today, "raw": today} if isinstance(today, dict) else today
        try:
            license_ = decode(cls, document, where, "licence", LicenseError)
        except LicenseError as error:
            if today is not raw:
                error.what = "a licence of the older tool, which lacks what is asked for today"
            error.hint = REISSUE
            raise
        for name in ("license_id", "customer", "not_before", "not_after"):
            text = getattr(license_, name)
            if not text.strip() or len(text) > _MAX_TEXT or not text.isprintable():
                raise LicenseError(
                    f"the licence has no usable {name!r}", where=where, got=repr(text)[:80]
                )
        try:
            start, end = license_.term
        except UsageError as error:
            raise LicenseError(error.what, where=where, got=error.got) from error
        if end < start:
            raise LicenseError("the licence ends before it begins", where=where)
        return license_

    @property
    def term(self) -> tuple[datetime, datetime]:
        """From when till when it runs."""
        start = parse_date(self.not_before, "start", "not_before")
        return start, parse_date(self.not_after, "end", "not_after")


class Circumstances(Struct, frozen=True):
    """What a licence is judged by.

    Attributes:
        fingerprint: the device's.
        now: the later of the clock and the highest time the store has seen.
        key: the vendor's, or None when signatures cannot be checked here.
        label: the label that is to be run, when that is known.
        moves: signed reports of recoveries, oldest first.
    """

    fingerprint: Fingerprint
    now: datetime
    key: SharedKey | None = None
    label: str | None = None
    moves: Sequence[Mapping[str, Any]] = ()


class LicenseVerdict(Struct, frozen=True):
    """Whether a licence can be used; ``issues`` names everything that is wrong with it."""

    license_id: str
    status: Status
    signed: Signed
    issues: tuple[str, ...] = ()
    license: License | None = None

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong: valid, signature checked, no issue."""
        return self.status == "valid" and self.signed == "valid" and not self.issues

    def worse(self, status: Status, issue: str) -> LicenseVerdict:
        """The verdict with one more issue; the status stays that of the gravest."""
        graver = self.status if self.status != "valid" else status
        return replace(self, status=graver, issues=(*self.issues, issue))


def judge_license(raw: Mapping[str, Any], circumstances: Circumstances) -> LicenseVerdict:
    """Judge a licence by itself: signature, device, term, label; gravest first."""
    name = raw.get("license_id")
    license_id = name if isinstance(name, str) else ""
    try:
        license_ = License.of(raw)
    except LicenseError as error:
        issues = ["bad-signature", f"malformed: {error.got or error.what}"]
        issues += [error.hint] if error.hint else []
        return LicenseVerdict(license_id, "bad-signature", "bad", tuple(issues))
    signed, problem = _signed(license_.raw, circumstances.key)
    verdict = LicenseVerdict(license_id, "valid", signed, (), license_)
    if signed == "bad":
        verdict = verdict.worse("bad-signature", "bad-signature")
        verdict = replace(verdict, issues=(*verdict.issues, problem))
        if license_.raw != raw:
            verdict = replace(verdict, issues=(*verdict.issues, REISSUE))
    if circumstances.fingerprint not in _devices(license_, circumstances):
        verdict = verdict.worse("fingerprint-mismatch", "fingerprint-mismatch")
    start, end = license_.term
    if circumstances.now < start:
        verdict = verdict.worse("not-yet", "not-yet")
    if circumstances.now > end:
        verdict = verdict.worse("expired", "expired")
    if circumstances.label not in {None, license_.label}:
        # No status of its own: the licence may be sound, only not for this label
        verdict = replace(verdict, issues=(*verdict.issues, "label-mismatch"))
    return verdict


def _signed(raw: Mapping[str, Any], key: SharedKey | None) -> tuple[Signed, str]:
    if not isinstance(raw.get("signature"), dict):
        return "bad", "there is no signature"
    if key is None:
        return "unchecked", ""
    try:
        verify_json(raw, key)
    except SignatureError as error:
        return "bad", error.what
    return "valid", ""


def _devices(license_: License, circumstances: Circumstances) -> set[Fingerprint]:
    """The devices a licence is good for: its own, and those a signed recovery moved it to."""
    devices = set(license_.fingerprints)
    for move in circumstances.moves:
        try:
            old, new = (Fingerprint(str(move.get(f"{age}_fingerprint"))) for age in ("old", "new"))
        except RepackError:
            continue
        by_vendor = not _is_signed_by_store(move)
        if old in devices and by_vendor and _signed(move, circumstances.key)[0] != "bad":
            devices.add(new)
    return devices


def _is_signed_by_store(move: Mapping[str, Any]) -> bool:
    signature = move.get("signature")
    return isinstance(signature, dict) and str(signature.get("key_id")).startswith(STORE_KEY)


def draft(fields: Mapping[str, Any]) -> License:
    """A licence to be signed, from what the vendor typed.

    Raises:
        UsageError: a field makes no sense.
    """
    try:
        license_ = License.of(fields)
    except LicenseError as error:
        raise UsageError(error.what, got=error.got) from error
    if not license_.fingerprints:
        raise UsageError("a licence needs a device", hint="give --fingerprint or --document")
    return license_
