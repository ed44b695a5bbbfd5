"""The licence store's file: a readable header around the encrypted ledger.

Format: a JSON object. ``ciphertext`` is the ledger under AES-256-GCM; all other fields are the
header, which is authenticated with it (as associated data, in canonical JSON). The key is scrypt
(RFC 7914) of the device's fingerprint with a random salt; salt and nonce are new at every writing.
``check`` comes out of the same scrypt and tells a wrong fingerprint from a damaged file. Nothing in
the file makes a guess cheaper: each costs one scrypt.

Version 2, of an older tool, used SHA-256 of the fingerprint as the key and kept the same hash in
the file: anybody who had the file had the key. It is read, never written.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from msgspec import Meta

from repack.codec.canonical import canonical, loads
from repack.codec.decode import Document, decode, encode
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
_MAX_N: Final = 1 << 20  # 1 GiB; an edited header must not exhaust the memory
_KEY, _CHECK = 32, 16


class _Kdf(Document, frozen=True):
    name: Literal["scrypt"]
    n: int
    r: Literal[8]
    p: Literal[1]
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]


class _Header(Document, frozen=True):
    format: Literal["repack-license-store"]
    version: Literal[3]
    generation: Annotated[int, Meta(gt=0, lt=10**12)]
    factors: tuple[str, ...]
    cipher: Literal["aes-256-gcm"]
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    kdf: _Kdf
    check: Annotated[bytes, Meta(min_length=_CHECK, max_length=_CHECK)]


class _StoreFile(_Header, frozen=True):
    ciphertext: bytes


class _Version2File(Document, frozen=True):
    fingerprint_hash: str
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    ciphertext: bytes


class Envelope(Value, frozen=True):
    """A store's file, read but not decrypted.

    Attributes:
        version: of the format.
        generation: counts the writings; 0 in the old format.
        factors: the factors the fingerprint was made of; none when it was given as text.
        associated: the bytes that are authenticated with the ledger.
    """

    hidden_fields: ClassVar = ("file", "associated")

    version: int
    generation: int
    factors: tuple[str, ...]
    file: _StoreFile | _Version2File
    associated: bytes

    @classmethod
    def parse(cls, data: bytes, where: object) -> Envelope:
        """Read a store's file.

        Raises:
            LicenseError: of no version this program can read, or its header is malformed.
            IntegrityError: not strict JSON.
        """
        document = loads(data, where, LIMIT)
        version = document.get("version") if isinstance(document, dict) else None
        if not isinstance(document, dict) or version not in (VERSION, OLD_VERSION):
            raise LicenseError(
                "not a licence store this repack can read",
                where=where,
                expected=f"version {VERSION} or {OLD_VERSION}",
                got=repr(version)[:40],
            )
        what = "header of the licence store"
        if version == OLD_VERSION:
            old_file = decode(_Version2File, document, where, what, LicenseError)
            return cls(OLD_VERSION, 0, (), old_file, old_file.fingerprint_hash.strip().encode())
        file = decode(_StoreFile, document, where, what, LicenseError)
        n = file.kdf.n
        if not _N <= n <= _MAX_N or n & (n - 1):
            raise LicenseError(f"the {what} is malformed", where=where, got=f"n = {n}")
        # From the document, not from the struct: unknown fields are authenticated too
        header = {name: value for name, value in document.items() if name != "ciphertext"}
        return cls(VERSION, file.generation, file.factors, file, canonical(header))

    def open(self, fingerprint: Fingerprint, where: object) -> bytes:
        """Decrypt the ledger.

        Raises:
            LicenseError: of another device, changed or damaged.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if isinstance(self.file, _Version2File):
            digest = hashlib.sha256(fingerprint.encode("utf-8"))
            key, check, expected = digest.digest(), digest.hexdigest().encode(), self.associated
        else:
            key, check = _derive(fingerprint, self.file.kdf.salt, self.file.kdf.n)
            expected = self.file.check
        if not hmac.compare_digest(check, expected):
            raise LicenseError(
                "the licence store does not open on this device",
                where=where,
                got="a store of another device, or one with an edited header",
                hint="after a change of hardware: repack license recover, with the old fingerprint",
            )
        try:
            return AESGCM(key).decrypt(self.file.nonce, self.file.ciphertext, self.associated)
        except (InvalidTag, ValueError) as error:
            raise LicenseError(
                "the licence store was changed or is damaged", where=where
            ) from error


class Header(Value, frozen=True):
    """What a ledger is encrypted with: fingerprint, generation, and fresh random bytes."""

    hidden_fields: ClassVar = ("salt", "nonce")

    fingerprint: Fingerprint
    factors: tuple[str, ...]
    generation: int
    salt: bytes
    nonce: bytes

    def encrypt(self, ledger: bytes) -> bytes:
        """The bytes of the store's file."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key, check = _derive(self.fingerprint, self.salt, _N)
        header = _Header(
            format=_FORMAT,
            version=VERSION,
            generation=self.generation,
            factors=self.factors,
            cipher=_CIPHER,
            nonce=self.nonce,
            kdf=_Kdf("scrypt", _N, 8, 1, self.salt),
            check=check,
        )
        fields = encode(header)
        ciphertext = AESGCM(key).encrypt(self.nonce, ledger, canonical(fields))
        document = {**fields, "ciphertext": encode(ciphertext)}
        return json.dumps(document, indent=2).encode() + b"\n"


def _derive(fingerprint: Fingerprint, salt: bytes, n: int) -> tuple[bytes, bytes]:
    """The key and the check value."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    scrypt = Scrypt(salt=salt, length=_KEY + _CHECK, n=n, r=_R, p=_P)
    derived = scrypt.derive(fingerprint.encode("utf-8"))
    return derived[:_KEY], derived[_KEY:]
