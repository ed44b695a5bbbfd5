"""Which device this is: a few lasting factors, and one fingerprint over them.

Rules of this module:

- Only what stays when a card, a disk or the kernel changes is a factor. Host name, kernel and MAC
  addresses never are.
- A value leaves this module only stretched by scrypt, so that every guess costs that much, even
  with the fingerprint in hand.
- The hash shown per factor says *whether* it changed, no more: 20 bits of a hash that is keyed by
  the stretched value. A million devices share each of them, so it cannot confirm a guessed serial
  number, and it takes nothing noticeable from a random identifier of 122 bits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self

from msgspec import Struct, field

from repack.codec.canonical import canonical, loads
from repack.codec.decode import Document, decode
from repack.errors import FingerprintError, SignatureError
from repack.keys.shared_key import SharedKey, Signature, check_hmac_sha384, sign_hmac_sha384
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEME: Final = 1
DOCUMENT_LIMIT: Final = 1 << 20
FACTORS: Final = ("product_uuid", "board_serial", "machine_id", "machine_guid", "tpm", "dongle")
# Drawn at random when the system is installed or the chip is made; all others follow some scheme
# of a manufacturer and may be guessed.
_RANDOM: Final = ("machine_id", "machine_guid", "tpm")
_NAME: Final = re.compile(
    r"(?:product_uuid|board_serial|machine_id|machine_guid)|(?:tpm|dongle)\w*"
)
_BASE32: Final = re.compile(r"[A-Z2-7]{77}")
_MISHEARD: Final = str.maketrans("018", "OIB")  # digits that base32 does not have (RFC 4648, 6)
_GROUP: Final = 7
_TAG_CHARS: Final = 4  # of 5 bits each
_MAX_TEXT: Final = 512
# What manufacturers leave in when nobody filled the field in; seen in dmidecode reports.
_PLACEHOLDERS: Final = frozenset(
    {
        "", "none", "null", "default", "defaultstring", "tobefilledbyoem", "oem", "na", "unknown",
        "systemserialnumber", "baseboardserialnumber", "serialnumber", "notspecified", "invalid",
        "notapplicable", "notavailable", "empty", "0123456789", "123456789", "1234567890",
        "uninitialized", "03000200040005000006000700080009", "00020003000400050006000700080009",
        "123456781234567890abcddeefaabbcc",
    }
)  # fmt: skip
_BLANK: Final = re.compile(r"0+|f+|x+|(fe)+")


class Fingerprint(str):
    """A device's name: 77 base32 digits in groups of seven, or the text an older tool gave it."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Take a fingerprint as printed, typed or told on the phone.

        Raises:
            FingerprintError: empty, longer than 512 characters, or not one line of text.
        """
        plain = text.strip()
        digits = re.sub(r"[\s-]", "", plain).upper().translate(_MISHEARD)
        if _BASE32.fullmatch(digits):
            groups = (digits[at : at + _GROUP] for at in range(0, len(digits), _GROUP))
            return super().__new__(cls, "-".join(groups))
        if not plain or len(plain) > _MAX_TEXT or not plain.isprintable():
            raise FingerprintError(
                "not a fingerprint", expected="one line of text", got=f"{len(plain)} characters"
            )
        return super().__new__(cls, plain)

    @classmethod
    def of(cls, digest: bytes) -> Self:
        """The printed form of a SHA-384."""
        return cls(base64.b32encode(digest).decode("ascii").rstrip("="))


class Device(Protocol):
    """What has a fingerprint: this machine's factors, or a fingerprint given as text."""

    @property
    def names(self) -> tuple[str, ...]:
        """The factors it goes by, sorted; none when only the fingerprint is known."""

    def fingerprint(self, names: Sequence[str] = ()) -> Fingerprint:
        """The fingerprint over these factors, or over all there are."""


class GivenFingerprint(Struct, frozen=True):
    """A device that is known by its fingerprint alone."""

    text: Fingerprint
    names: tuple[str, ...] = ()

    def fingerprint(self, names: Sequence[str] = ()) -> Fingerprint:
        """The fingerprint as given, whatever factors are asked for."""
        del names
        return self.text


class Factors(Value, frozen=True):
    """A device's factors, each stretched by scrypt.

    Attributes:
        stretched: per factor, scrypt of its value.
        unreadable: factors that could not be had, with the reason.
        ignored: given names that are no factors.
    """

    hidden_fields: ClassVar = ("stretched",)

    stretched: Mapping[str, bytes]
    unreadable: Mapping[str, str]
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, str], unreadable: Mapping[str, str]) -> Factors:
        """Stretch the values; a manufacturer's placeholder counts as unreadable."""
        stretched: dict[str, bytes] = {}
        missing, ignored = dict(unreadable), []
        for given_name, value in sorted(values.items()):
            name = factor_name(given_name)
            if not _NAME.fullmatch(name):
                ignored.append(given_name)
            elif _is_placeholder(value):
                missing[name] = "the manufacturer left it blank"
            else:
                stretched[name] = _stretch(name, value)
        return cls(stretched, missing, tuple(ignored))

    @property
    def names(self) -> tuple[str, ...]:
        """The factors that were read."""
        return tuple(sorted(self.stretched))

    def fingerprint(self, names: Sequence[str] = ()) -> Fingerprint:
        """The fingerprint over ``names``, or over all factors that were read.

        Raises:
            FingerprintError: no factor was read, or one of ``names`` was not.
        """
        missing = [name for name in names if name not in self.stretched]
        if missing or not self.stretched:
            reasons = {name: self.unreadable.get(name, "not there") for name in missing}
            reasons = reasons or dict(self.unreadable)
            raise FingerprintError(
                "this device cannot be told: "
                + (f"no {', no '.join(missing)}" if missing else "no factor is readable"),
                expected=", ".join(names) or f"one of {', '.join(FACTORS)}",
                got="; ".join(f"{name}: {why}" for name, why in sorted(reasons.items())) or None,
                hint="run as root or administrator, or name the factors with --factors FILE",
            )
        chosen = {name: self.stretched[name].hex() for name in names or self.names}
        text = canonical({"scheme": SCHEME, "factors": chosen})
        return Fingerprint.of(hashlib.sha384(text).digest())

    @property
    def tags(self) -> dict[str, str]:
        """Per factor the short hash that tells whether it changed."""
        return {name: _tag(name, self.stretched[name]) for name in self.names}

    @property
    def issues(self) -> tuple[str, ...]:
        """What weakens the fingerprint."""
        if self.names and not any(name.startswith(_RANDOM) for name in self.names):
            return (
                "no random factor: this fingerprint rests on serial numbers, which are guessable",
            )
        return ()


def factor_name(text: str) -> str:
    """The name of a factor, however tools spell it: ``DMI-Product-UUID`` is ``product_uuid``."""
    return text.strip().lower().replace("-", "_").removeprefix("dmi_").removeprefix("smbios_")


def _plain(value: str) -> str:
    return " ".join(value.lower().strip("{} \t\r\n\x00").split())


def _is_placeholder(value: str) -> bool:
    letters = re.sub(r"[\s._:-]", "", _plain(value))
    return letters in _PLACEHOLDERS or _BLANK.fullmatch(letters) is not None


def _stretch(name: str, value: str) -> bytes:
    # The salt cannot be random: support compares two documents of one device, made years apart.
    # n = 2^14, r = 8: 16 MiB and about 50 ms, paid once per factor and run.
    salt = b"repack device factor 1\0" + name.encode("ascii")
    return hashlib.scrypt(
        _plain(value).encode("utf-8", "surrogateescape"), salt=salt, n=1 << 14, r=8, p=1, dklen=48
    )


def _tag(name: str, stretched: bytes) -> str:
    digest = hmac.new(stretched, b"tag\0" + name.encode("ascii"), hashlib.sha384).digest()
    return base64.b32encode(digest).decode("ascii")[:_TAG_CHARS]


class _Payload(Document, frozen=True):
    fingerprint: Fingerprint
    factors: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)


class FingerprintDocument(Value, frozen=True):
    """A device's fingerprint and factor tags as a file, signed or not.

    ``payload`` is the signed object as it was read, with fields this version does not know.
    """

    hidden_fields: ClassVar = ("payload",)

    fingerprint: Fingerprint
    tags: Mapping[str, str]
    unreadable: Mapping[str, str]
    payload: Mapping[str, object]
    signature: Signature | None = None

    @classmethod
    def of(cls, factors: Factors, stamp: str, key: SharedKey | None = None) -> FingerprintDocument:
        """Describe a device, at the time ``stamp``, signed when a key is given."""
        payload: dict[str, object] = {
            "fingerprint": factors.fingerprint(),
            "scheme": SCHEME,
            "generated_at": stamp,
            "factors": factors.tags,
            "unreadable": dict(factors.unreadable),
            "ignored": list(factors.ignored),
            "issues": list(factors.issues),
        }
        signature = sign_hmac_sha384(payload, key) if key else None
        return cls(
            factors.fingerprint(), factors.tags, dict(factors.unreadable), payload, signature
        )

    @classmethod
    def parse(cls, data: bytes, where: object) -> FingerprintDocument:
        """Read a document, its payload alone, or a file with just the fingerprint in it.

        Raises:
            FingerprintError: there is no fingerprint in it.
            IntegrityError: not strict JSON.
        """
        if not data.lstrip().startswith(b"{"):
            text = data[: _MAX_TEXT * 4].decode("utf-8-sig", "replace")
            return cls(Fingerprint(text), {}, {}, {})
        document: Any = loads(data, where, DOCUMENT_LIMIT)
        payload = document.get("payload", document)
        fields = decode(_Payload, payload, where, "fingerprint document", FingerprintError)
        signature = document.get("signature") if payload is not document else None
        return cls(fields.fingerprint, fields.factors, fields.unreadable, payload, signature)

    def check(self, key: SharedKey, where: object = None) -> None:
        """Check the signature.

        Raises:
            SignatureError: there is none, or it does not fit.
        """
        if self.signature is None:
            raise SignatureError("the fingerprint document is not signed", where=where)
        check_hmac_sha384(self.payload, self.signature, key, where)

    def to_json(self) -> dict[str, object]:
        """``payload`` and ``signature``."""
        return {"payload": dict(self.payload), "signature": self.signature}

    def differing(self, tags: Mapping[str, str]) -> tuple[str, ...]:
        """The factors that are not as in this document; none when it lists no factors."""
        names = sorted({*self.tags, *tags}) if self.tags else []
        return tuple(name for name in names if self.tags.get(name) != tags.get(name))
