"""The key of a device: made on it, never off it."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from repack.errors import KeyRefusedError


def new_private_key() -> bytes:
    """A new Ed25519 key as PKCS#8 in PEM."""
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def public_half(pem: bytes, where: object) -> str:
    """The public half of a private key, as PEM.

    Raises:
        KeyRefusedError: ``pem`` is no unencrypted Ed25519 key.
    """
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise KeyRefusedError("the device's key is damaged", where=where) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyRefusedError("the device's key is of another kind", where=where)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode("ascii")
