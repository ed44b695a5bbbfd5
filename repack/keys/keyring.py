"""The key folder of a label: ``keys.json`` and those private keys that are kept on this disk.

Private keys are PKCS#8, encrypted when there is a passphrase, else readable by their owner alone.
They are named by URI: ``file:`` (relative to the folder) and ``env:`` are read here, all others
(``hsm:``, ``awskms:``, ``gcpkms:``, ``azurekms:``, ``hv:``, ``gnupg:`` …) by securesystemslib.
A key whose private half is not here is an offline key, not an error.
"""

from __future__ import annotations

import base64
import secrets
import shlex
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from repack.errors import KeyRefusedError
from repack.fs import atomic
from repack.keys.keyset import MAX_BYTES, ROLES, KeySet, parse_keyset
from repack.keys.shared_key import MAX_KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from securesystemslib.signer import Signer

    from repack.keys.keyset import Algorithm, PublicKey, RoleName

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
                hint=f"make one: repack key new --keys {shlex.quote(str(folder))}",
            )
        return cls(folder, parse_keyset(atomic.read(path, MAX_BYTES), path), environment)

    @classmethod
    def open_or_begin(cls, folder: Path, environment: Mapping[str, str]) -> Keyring:
        """Open the key folder, or begin an empty set. Raises as :meth:`open`."""
        if (folder / KEYS_FILE).exists():
            return cls.open(folder, environment)
        return cls(folder, KeySet(), environment)

    @classmethod
    def open_or_create(cls, folder: Path, environment: Mapping[str, str]) -> Keyring:
        """Open the key folder; where there is none, make a development set in it.

        One Ed25519 key per role and an HMAC key, all on this disk: for trying, and marked as
        development keys in all that they sign. Raises as :meth:`open` does.
        """
        if (folder / KEYS_FILE).exists():
            return cls.open(folder, environment)
        ring = cls(folder, KeySet(), environment)
        secret = base64.b64encode(secrets.token_bytes(48)) + b"\n"
        atomic.write(folder / HMAC_FILE, secret, mode=0o600)
        for role in ROLES:
            key = ring.generate(role, "ed25519")
            ring.keyset = ring.keyset.with_key(replace(key, development=True))
        ring.save()
        with atomic.os_errors_at(folder):
            folder.chmod(0o700)
        return ring

    def save(self) -> None:
        """Write ``keys.json``. Raises as :func:`repack.fs.atomic.write` does."""
        atomic.write(self.folder / KEYS_FILE, self.keyset.to_bytes())

    def generate(self, role: RoleName, algorithm: Algorithm) -> PublicKey:
        """Make a key pair, and write its private half into the folder.

        Raises:
            PlaceError: it cannot be written.
        """
        from repack.keys import private_key

        signer = private_key.generate(algorithm)
        keyid = signer.public_key.keyid
        name = f"{role}-{keyid[:8]}.pem"
        pem = private_key.to_pem(signer, self._environment.get(PASSPHRASE))
        atomic.write(self.folder / name, pem, mode=0o600)
        self._signers[keyid] = signer
        return private_key.public_key_of(signer.public_key, role, f"file:{name}")

    def signer(self, keyid: str) -> Signer | None:
        """The signer of the key, or None when its private half is not here.

        Raises:
            KeyRefusedError: it is here, but cannot be opened.
        """
        if keyid not in self._signers:
            key = self.keyset.keys.get(keyid)
            self._signers[keyid] = None if key is None else self._load(key)
        return self._signers[keyid]

    def hmac_ref(self) -> str | None:
        """The development set's shared key, in key syntax."""
        path = self.folder / HMAC_FILE
        return f"file:{path}" if path.is_file() else None

    def _load(self, key: PublicKey) -> Signer | None:
        from repack.keys import private_key

        phrase = self._environment.get(PASSPHRASE)
        match (key.uri or "").partition(":"):
            case ("", _, _):
                return None
            case ("file", _, name):
                path = self.folder / name
                if not path.is_file():
                    return None
                pem = atomic.read(path, MAX_KEY_FILE)
                return private_key.from_pem(pem, key, phrase, str(path))
            case ("env", _, variable):
                text = self._environment.get(variable)
                if text is None:
                    return None
                return private_key.from_pem(text.encode(), key, phrase, f"env:{variable}")
        return private_key.from_uri(str(key.uri), key, self._secret)

    def _secret(self, name: str) -> str:
        """A PIN or the like that a signer asks for: in the environment, never on a terminal."""
        variable = f"REPACK_{name.upper().replace(' ', '_')}"
        secret = self._environment.get(variable)
        if secret is None:
            raise KeyRefusedError(f"the signer asks for {name}", hint=f"set {variable}")
        return secret
