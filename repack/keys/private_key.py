"""Private keys: generated, read from PEM, or used through securesystemslib's signers.

The only module that knows pyca/cryptography's keys for signing. Importing it takes a tenth of a
second, so :mod:`repack.keys.keyring` does so when a key is really used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import KeyMismatchError
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from repack.errors import KeyRefusedError
from repack.keys.keyset import PublicKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from repack.keys.keyset import Algorithm, RoleName


def generate(algorithm: Algorithm) -> CryptoSigner:
    """A new key pair."""
    if algorithm == "ed25519":
        return CryptoSigner.generate_ed25519()
    return CryptoSigner.generate_ecdsa(scheme="ecdsa-sha2-nistp384")


def to_pem(signer: CryptoSigner, phrase: str | None) -> bytes:
    """The private half as PKCS#8, encrypted when there is a passphrase."""
    key = load_pem_private_key(signer.private_bytes, None)
    encryption = BestAvailableEncryption(phrase.encode()) if phrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def from_pem(pem: bytes, key: PublicKey, phrase: str | None, where: str) -> Signer:
    """The signer of a PKCS#8 file.

    Raises:
        KeyRefusedError: encrypted and no passphrase, or a wrong one; malformed; another key's.
    """
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not phrase:
        raise KeyRefusedError(
            "the private key is encrypted", where=where, hint="set REPACK_KEY_PASSPHRASE"
        )
    try:
        private = load_pem_private_key(pem, phrase.encode() if encrypted and phrase else None)
        return CryptoSigner(private, SSlibKey.from_dict(key.keyid, key.to_tuf()))
    except KeyMismatchError as error:
        raise KeyRefusedError(
            "the private key does not belong to the public one", where=where
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        hint = "is REPACK_KEY_PASSPHRASE right?" if encrypted else None
        raise KeyRefusedError("the private key cannot be read", where=where, hint=hint) from error


def from_uri(uri: str, key: PublicKey, secret: Callable[[str], str]) -> Signer:
    """The signer that securesystemslib has for ``uri``: HSM, cloud KMS and the like.

    Raises:
        KeyRefusedError: it knows no such scheme, or the signer cannot be used.
    """
    try:
        public = Key.from_dict(key.keyid, key.to_tuf())
        return Signer.from_priv_key_uri(uri, public, secret)
    except KeyRefusedError:
        raise
    except Exception as error:  # each signer raises what its library raises
        raise KeyRefusedError(
            f"the key's {uri.partition(':')[0]} signer cannot be used",
            where=f"key {key.keyid[:16]} of role {key.role}",
            got=f"{type(error).__name__}: {error}"[:300],
        ) from error


def adopt(role: RoleName, public_pem: bytes, uri: str | None) -> PublicKey:
    """The public half of a key made elsewhere.

    Raises:
        KeyRefusedError: it is no public key in PEM, or of a kind that cannot sign metadata.
    """
    try:
        return public_key_of(SSlibKey.from_crypto(load_pem_public_key(public_pem)), role, uri)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefusedError("not a public key in PEM", got=str(error)[:200]) from error


def public_key_of(public: Key, role: RoleName, uri: str | None) -> PublicKey:
    """A securesystemslib key as it stands in a key set."""
    value = str(public.keyval["public"])
    return PublicKey(public.keyid, role, public.keytype, public.scheme, value, uri)


def to_public_pem(key: PublicKey) -> str:
    """The public half as PEM, to be taken over elsewhere."""
    if key.keytype != "ed25519":
        return key.public
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
