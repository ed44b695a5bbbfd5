"""The key folder of a label: ``keys.json`` and, where they may be, private keys.

Private keys are PKCS#8, encrypted when there is a passphrase, else readable by their owner alone.
They are named by URI: ``file:`` (relative to the folder) and ``env:`` are read here, all others
(``hsm:``, ``awskms:``, ``gcpkms:``, ``azurekms:``, ``hv:``, ``gnupg:`` …) by securesystemslib.
A key whose private half is not here is no fault: that is what offline keys are for.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import KeyMismatchError
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey
from securesystemslib.signer import Key as PublicHalf

from repack.errors import KeyRefusedError
from repack.model.keys import MAX_KEY_FILE
from repack.model.keyset import MAX_BYTES, ROLES, KeySet, PublicKey, parse
from repack.places import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.model.keyset import Algorithm, Role

KEYS_FILE: Final = "keys.json"
HMAC_FILE: Final = "hmac.key"
PASSPHRASE: Final = "REPACK_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable


class Keyring:
    """The keys of one label, and those private ones that can be used here."""

    def __init__(self, folder: Path, keyset: KeySet, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.keyset = keyset
        self._environment = environment
        self._signers: dict[str, Signer | None] = {}

    @classmethod
    def open(cls, folder: Path, environment: Mapping[str, str]) -> Keyring:
        """Open the key folder; no private key is read yet.

        Raises:
            KeyRefusedError: there is no key set, or it is malformed.
            PlaceError: it cannot be read.
        """
        path = folder / KEYS_FILE
        if not path.is_file():
            raise KeyRefusedError(
                "there is no key set",
                where=path,
                hint=f"make one: repack key new --role root --keys {folder}",
            )
        return cls(folder, parse(files.read(path, MAX_BYTES), path), environment)

    @classmethod
    def open_or_create(cls, folder: Path, environment: Mapping[str, str]) -> Keyring:
        """Open the key folder; where there is none, make a development set in it.

        One Ed25519 key per role and an HMAC key, all on this disk: good for trying, and marked
        as such in everything that they sign. Raises as :meth:`open` does.
        """
        if (folder / KEYS_FILE).exists():
            return cls.open(folder, environment)
        ring = cls(folder, KeySet(), environment)
        secret = base64.b64encode(secrets.token_bytes(48)) + b"\n"
        files.write(folder / HMAC_FILE, secret, mode=0o600)
        for role in ROLES:
            key = ring.generate(role, "ed25519")
            ring.keyset = ring.keyset.adding(replace(key, development=True))
        ring.save()
        with files.faults_at(folder):
            folder.chmod(0o700)
        return ring

    @classmethod
    def open_or_begin(cls, folder: Path, environment: Mapping[str, str]) -> Keyring:
        """Open the key folder; where there is none, begin an empty set. Raises as :meth:`open`."""
        if (folder / KEYS_FILE).exists():
            return cls.open(folder, environment)
        return cls(folder, KeySet(), environment)

    def save(self) -> None:
        """Write ``keys.json``. Raises as :func:`repack.places.files.write` does."""
        files.write(self.folder / KEYS_FILE, self.keyset.to_bytes())

    def generate(self, role: Role, algorithm: Algorithm) -> PublicKey:
        """Make a key pair, and write its private half into the folder.

        Raises:
            PlaceError: it cannot be written.
        """
        if algorithm == "ed25519":
            signer = CryptoSigner.generate_ed25519()
        else:
            signer = CryptoSigner.generate_ecdsa(scheme="ecdsa-sha2-nistp384")
        public = signer.public_key
        name = f"{role}-{public.keyid[:8]}.pem"
        key = load_pem_private_key(signer.private_bytes, None)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, self._encryption())
        files.write(self.folder / name, pem, mode=0o600)
        self._signers[public.keyid] = signer
        return _entry(public, role, f"file:{name}")

    def adopt(self, role: Role, public_pem: bytes, uri: str | None) -> PublicKey:
        """Take over the public half of a key made elsewhere.

        Raises:
            KeyRefusedError: it is no public key in PEM, or of a kind that cannot sign metadata.
        """
        try:
            public = SSlibKey.from_crypto(load_pem_public_key(public_pem))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyRefusedError("not a public key in PEM", got=str(error)[:200]) from error
        return _entry(public, role, uri)

    def signer(self, keyid: str) -> Signer | None:
        """What signs with the key, or None when its private half is not here.

        Raises:
            KeyRefusedError: it is here, but cannot be opened.
        """
        if keyid not in self._signers:
            key = self.keyset.keys.get(keyid)
            self._signers[keyid] = None if key is None or key.uri is None else self._load(key)
        return self._signers[keyid]

    def hmac_ref(self) -> str | None:
        """The development set's shared key, in key syntax."""
        path = self.folder / HMAC_FILE
        return f"file:{path}" if path.is_file() else None

    def _load(self, key: PublicKey) -> Signer | None:
        assert key.uri is not None  # noqa: S101 - the caller looked
        scheme, _, rest = key.uri.partition(":")
        where = f"key {key.keyid[:16]} of role {key.role}"
        public = PublicHalf.from_dict(key.keyid, key.to_tuf())
        match scheme:
            case "file":
                path = self.folder / rest
                if not path.is_file():
                    return None
                return self._from_pem(files.read(path, MAX_KEY_FILE), public, str(path))
            case "env":
                text = self._environment.get(rest)
                return None if text is None else self._from_pem(text.encode(), public, key.uri)
            case _:
                try:
                    return Signer.from_priv_key_uri(key.uri, public, self._secret)
                except Exception as error:  # each signer raises what its library raises
                    raise KeyRefusedError(
                        f"the key's {scheme} signer cannot be used",
                        where=where,
                        got=f"{type(error).__name__}: {error}"[:300],
                    ) from error

    def _from_pem(self, pem: bytes, public: PublicHalf, where: str) -> Signer:
        phrase = self._environment.get(PASSPHRASE)
        encrypted = b"ENCRYPTED" in pem
        if encrypted and not phrase:
            raise KeyRefusedError(
                "the private key is encrypted", where=where, hint=f"set {PASSPHRASE}"
            )
        password = phrase.encode() if encrypted and phrase else None
        try:
            private = load_pem_private_key(pem, password)
            assert isinstance(public, SSlibKey)  # noqa: S101 - else CryptoSigner says so itself
            return CryptoSigner(private, public)
        except KeyMismatchError as error:
            raise KeyRefusedError(
                "the private key does not belong to the public one", where=where
            ) from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyRefusedError(
                "the private key cannot be read", where=where, hint=f"is {PASSPHRASE} right?"
            ) from error

    def _encryption(self) -> KeySerializationEncryption:
        phrase = self._environment.get(PASSPHRASE)
        return BestAvailableEncryption(phrase.encode()) if phrase else NoEncryption()

    def _secret(self, name: str) -> str:
        """A PIN or the like that a signer asks for: in the environment, never on a terminal."""
        variable = f"REPACK_{name.upper().replace(' ', '_')}"
        found = self._environment.get(variable)
        if found is None:
            raise KeyRefusedError(f"the signer asks for {name}", hint=f"set {variable}")
        return found


def public_pem(key: PublicKey) -> str:
    """The public half as PEM, to be taken over elsewhere by ``--public``."""
    if key.keytype != "ed25519":
        return key.public
    half = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public))
    pem = half.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode("ascii")


def _entry(public: PublicHalf, role: Role, uri: str | None) -> PublicKey:
    value = str(public.keyval["public"])
    return PublicKey(public.keyid, role, public.keytype, public.scheme, value, uri)
