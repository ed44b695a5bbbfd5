"""The licence store's envelope: what is readable in the file, and how the rest is encrypted.

Format: a JSON object. ``ciphertext`` is the ledger under AES-256-GCM; all other fields are the
header, which is authenticated with it. The key is scrypt of the device's fingerprint with a random
salt; salt and nonce are new at every writing. ``check`` comes out of the same scrypt and tells a
wrong fingerprint from a damaged file. Nothing in the file shortens a guess: each costs one scrypt.

Version 2, of an older tool, used SHA-256 of the fingerprint as the key and kept the same hash in
the file: anybody who had the file had the key. It is read, never written.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from repack.codec.canonical import canonical, loads
from repack.errors import LicenseError
from repack.structs import Value

if TYPE_CHECKING:
    from repack.license.fingerprint import Fingerprint

VERSION: Final = 3
OLD_VERSION: Final = 2
LIMIT: Final = 32 << 20
SALT_BYTES: Final = 32
NONCE_BYTES: Final = 12
_FORMAT: Final = "repack-license-store"
_CIPHER: Final = "aes-256-gcm"
# 32 MiB and about 90 ms a guess, on the machine this was written on
_N, _R, _P = 1 << 15, 8, 1
_MAX_N: Final = 1 << 20  # 1 GiB; an edited header must not eat the machine
_KEY, _CHECK = 32, 16


class Envelope(Value, frozen=True):
    """A store as it lies on disk, read but not opened.

    Attributes:
        version: of the format.
        generation: counts the writings; 0 in the old format.
        factors: the factors the fingerprint was made of; none when it was given as text.
        document: the whole object.
    """

    hidden_fields: ClassVar = ("document",)

    version: int
    generation: int
    factors: tuple[str, ...]
    document: dict[str, Any]

    @classmethod
    def parse(cls, data: bytes, where: object) -> Envelope:
        """Read a store's file.

        Raises:
            LicenseError: of no version this program knows, or its header makes no sense.
            IntegrityError: not strict JSON.
        """
        document = loads(data, where, LIMIT)
        version = document.get("version") if isinstance(document, dict) else None
        if isinstance(document, dict) and version == OLD_VERSION:
            return cls(OLD_VERSION, 0, (), document)
        if not isinstance(document, dict) or version != VERSION:
            raise LicenseError(
                "not a licence store this repack can read",
                where=where,
                expected=f"version {VERSION} or {OLD_VERSION}",
                got=repr(version)[:40],
            )
        generation, factors, kdf = (document.get(n) for n in ("generation", "factors", "kdf"))
        if (
            not isinstance(generation, int)
            or not 0 < generation < 10**12
            or not isinstance(factors, list)
            or not all(isinstance(name, str) for name in factors)
            or (document.get("format"), document.get("cipher")) != (_FORMAT, _CIPHER)
            or not _is_sane(kdf)
        ):
            raise LicenseError("the header of the licence store makes no sense", where=where)
        return cls(VERSION, generation, tuple(factors), document)

    def open(self, fingerprint: Fingerprint, where: object) -> bytes:
        """Decrypt the ledger.

        Raises:
            LicenseError: of another device, changed or damaged.
        """
        if self.version == OLD_VERSION:
            return self._open_version_2(fingerprint, where)
        header = {name: value for name, value in self.document.items() if name != "ciphertext"}
        kdf = self.document["kdf"]
        key, check = _derive(fingerprint, _bytes(kdf, "salt", SALT_BYTES, where), kdf["n"])
        if not hmac.compare_digest(check, _bytes(self.document, "check", _CHECK, where)):
            raise _another_device(where)
        return self._decrypt(key, canonical(header), where)

    def _open_version_2(self, fingerprint: Fingerprint, where: object) -> bytes:
        digest = hashlib.sha256(fingerprint.encode("utf-8"))
        written = str(self.document.get("fingerprint_hash")).strip().encode("utf-8")
        if not hmac.compare_digest(written, digest.hexdigest().encode("ascii")):
            raise _another_device(where)
        return self._decrypt(digest.digest(), written, where)

    def _decrypt(self, key: bytes, associated: bytes, where: object) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = _bytes(self.document, "nonce", NONCE_BYTES, where)
        sealed = _bytes(self.document, "ciphertext", None, where)
        try:
            return AESGCM(key).decrypt(nonce, sealed, associated)
        except (InvalidTag, ValueError) as error:
            raise LicenseError(
                "the licence store was changed or is damaged", where=where
            ) from error


class Header(Value, frozen=True):
    """What goes around a ledger: for whom, the how-manieth, and fresh random bytes."""

    hidden_fields: ClassVar = (
        "salt",
        "nonce",
    )

    fingerprint: Fingerprint
    factors: tuple[str, ...]
    generation: int
    salt: bytes
    nonce: bytes

    def around(self, ledger: bytes) -> bytes:
        """The bytes of the store's file."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key, check = _derive(self.fingerprint, self.salt, _N)
        header: dict[str, Any] = {
            "format": _FORMAT,
            "version": VERSION,
            "generation": self.generation,
            "factors": list(self.factors),
            "cipher": _CIPHER,
            "nonce": _text(self.nonce),
            "kdf": {"name": "scrypt", "n": _N, "r": _R, "p": _P, "salt": _text(self.salt)},
            "check": _text(check),
        }
        sealed = AESGCM(key).encrypt(self.nonce, ledger, canonical(header))
        return json.dumps({**header, "ciphertext": _text(sealed)}, indent=2).encode() + b"\n"


def _is_sane(kdf: object) -> bool:
    if not isinstance(kdf, dict):
        return False
    n = kdf.get("n")
    return (
        (kdf.get("name"), kdf.get("r"), kdf.get("p")) == ("scrypt", _R, _P)
        and isinstance(n, int)
        and _N <= n <= _MAX_N
        and n & (n - 1) == 0
    )


def _derive(fingerprint: Fingerprint, salt: bytes, n: int) -> tuple[bytes, bytes]:
    """The key and the check value."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    scrypt = Scrypt(salt=salt, length=_KEY + _CHECK, n=n, r=_R, p=_P)
    made = scrypt.derive(fingerprint.encode("utf-8"))
    return made[:_KEY], made[_KEY:]


def _bytes(document: dict[str, Any], name: str, size: int | None, where: object) -> bytes:
    try:
        value = base64.b64decode(document[name], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise LicenseError(f"the licence store has no usable {name!r}", where=where) from error
    if size is not None and len(value) != size:
        raise LicenseError(f"the licence store has no usable {name!r}", where=where)
    return value


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _another_device(where: object) -> LicenseError:
    return LicenseError(
        "the licence store does not open on this device",
        where=where,
        got="a store of another device, or one with an edited header",
        hint="after a change of hardware: repack license recover, with the old fingerprint",
    )
