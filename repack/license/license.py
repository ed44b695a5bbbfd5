"""A licence: who may run what, where and when; and the verdict on one.

Format (JSON): ``license_id``, ``customer``, ``label``, ``features``, ``fingerprints`` (any of them
will do), ``not_before``, ``not_after``, ``signature``. Fields this version does not know are kept
and stay signed. A date without a time means the whole day, UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from msgspec import Struct
from msgspec.structs import replace

from repack.codec.canonical import loads
from repack.errors import LicenseError, RepackError, SignatureError, UsageError
from repack.keys.signed_json import verify_json
from repack.license.fingerprint import Fingerprint
from repack.names import LabelName
from repack.structs import Value
from repack.timestamps import parse_date

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from repack.keys.shared_key import SharedKey

LIMIT: Final = 1 << 20
_MAX_TEXT: Final = 200
# A device recovered without the vendor's key signs with a key from its own store: proof of who
# recovered it, but no leave of the vendor to move a licence.
STORE_KEY: Final = "store:"

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


class License(Value, frozen=True):
    """A licence that was taken apart; ``raw`` is the signed object."""

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
        raw = loads(data, where, LIMIT)
        if not isinstance(raw, dict):
            raise LicenseError("not a licence", where=where, expected="a JSON object")
        return cls.of(raw, where)

    @classmethod
    def of(cls, raw: Mapping[str, Any], where: object = None) -> Self:
        """Take a licence apart; the signature is not looked at.

        Raises:
            LicenseError: a field is missing or makes no sense.
        """
        try:
            found = cls(
                license_id=_text(raw, "license_id"),
                customer=_text(raw, "customer"),
                label=LabelName(_text(raw, "label")),
                features=tuple(_texts(raw, "features")),
                fingerprints=tuple(Fingerprint(text) for text in _texts(raw, "fingerprints")),
                not_before=_text(raw, "not_before"),
                not_after=_text(raw, "not_after"),
                raw=raw,
            )
            start, end = found.term
        except RepackError as error:
            if isinstance(error, LicenseError):
                error.where = None if where is None else str(where)
                raise
            raise LicenseError(error.what, where=where, got=error.got) from error
        if end < start:
            raise LicenseError("the licence ends before it begins", where=where)
        return found

    @property
    def term(self) -> tuple[datetime, datetime]:
        """From when till when it runs."""
        start = parse_date(self.not_before, "start", "not_before")
        return start, parse_date(self.not_after, "end", "not_after")


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
        raise LicenseError(f"the licence has no usable {name!r}", got=repr(value)[:80])
    if not value.isprintable():
        raise LicenseError(f"{name!r} holds control characters")
    return value


def _texts(raw: Mapping[str, Any], name: str) -> list[str]:
    value = raw.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise LicenseError(f"{name!r} is no list of texts", got=repr(value)[:80])
    return value


class Circumstances(Struct, frozen=True):
    """Under which licences are judged.

    Attributes:
        fingerprint: the device's.
        now: the later of the clock and the highest time the store has seen.
        key: the vendor's, or None when signatures cannot be checked here.
        label: the one that is to be run, when that is known.
        moves: signed reports of recoveries, oldest first.
    """

    fingerprint: Fingerprint
    now: datetime
    key: SharedKey | None = None
    label: str | None = None
    moves: Sequence[Mapping[str, Any]] = ()


class LicenseVerdict(Struct, frozen=True):
    """What is to be said of one licence; ``issues`` names everything that is wrong with it."""

    license_id: str
    status: Status
    signed: Signed
    issues: tuple[str, ...] = ()
    license: License | None = None

    @property
    def is_right(self) -> bool:
        """Whether nothing at all is wrong: valid, signature checked, no issue."""
        return self.status == "valid" and self.signed == "valid" and not self.issues

    def worse(self, status: Status, issue: str) -> LicenseVerdict:
        """The verdict with one more issue; the status stays that of the gravest."""
        graver = self.status if self.status != "valid" else status
        return replace(self, status=graver, issues=(*self.issues, issue))


def judge_license(raw: Mapping[str, Any], given: Circumstances) -> LicenseVerdict:
    """Judge a licence by itself: signature, device, term, label; gravest first."""
    name = raw.get("license_id")
    license_id = name if isinstance(name, str) else ""
    try:
        found = License.of(raw)
    except LicenseError as error:
        issues = ("bad-signature", f"malformed: {error.what}")
        return LicenseVerdict(license_id, "bad-signature", "bad", issues)
    signed, problem = _signed(raw, given.key)
    verdict = LicenseVerdict(license_id, "valid", signed, (), found)
    if signed == "bad":
        verdict = verdict.worse("bad-signature", "bad-signature")
        verdict = replace(verdict, issues=(*verdict.issues, problem))
    if given.fingerprint not in _devices(found, given):
        verdict = verdict.worse("fingerprint-mismatch", "fingerprint-mismatch")
    start, end = found.term
    if given.now < start:
        verdict = verdict.worse("not-yet", "not-yet")
    if given.now > end:
        verdict = verdict.worse("expired", "expired")
    if given.label is not None and given.label != found.label:
        # No status of its own: the licence may be sound, only not for this
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


def _devices(found: License, given: Circumstances) -> set[Fingerprint]:
    """The devices a licence is good for: its own, and those a signed recovery moved it to."""
    devices = set(found.fingerprints)
    for move in given.moves:
        try:
            old, new = (Fingerprint(str(move.get(f"{age}_fingerprint"))) for age in ("old", "new"))
        except RepackError:
            continue
        if old in devices and _signed(move, given.key)[0] != "bad" and not _by_store(move):
            devices.add(new)
    return devices


def _by_store(move: Mapping[str, Any]) -> bool:
    signature = move.get("signature")
    return isinstance(signature, dict) and str(signature.get("key_id")).startswith(STORE_KEY)


def draft(fields: Mapping[str, Any]) -> License:
    """A licence to be signed, from what the vendor typed.

    Raises:
        UsageError: a field makes no sense.
    """
    try:
        found = License.of(fields)
    except LicenseError as error:
        raise UsageError(error.what, got=error.got) from error
    if not found.fingerprints:
        raise UsageError("a licence needs a device", hint="give --fingerprint or --document")
    return found
