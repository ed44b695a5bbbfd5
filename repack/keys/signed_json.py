"""A JSON object that carries its own signature: licences and recovery reports.

The key decides the algorithm, never the document: PEM is Ed25519, any other secret is HMAC-SHA384.
So nobody can pass an HMAC made with a public key off as a signature, nor ask for a weaker one.
Signed bytes: the object without ``signature``, as canonical JSON.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from repack.codec.canonical import canonical
from repack.errors import KeyRefusedError, SignatureError
from repack.keys.shared_key import SharedKey, Signature, check_hmac_sha384, sign_hmac_sha384

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

ED25519: Final = "ed25519"
_PEM: Final = b"-----BEGIN "


def sign_json(document: Mapping[str, object], key: SharedKey) -> dict[str, object]:
    """``document`` with a signature.

    Raises:
        KeyRefusedError: a PEM that is no unencrypted Ed25519 private key.
    """
    body = _body(document)
    if not _is_pem(key):
        return {**body, "signature": sign_hmac_sha384(body, key)}
    value = base64.b64encode(_private(key).sign(canonical(body))).decode("ascii")
    signature: Signature = {"algorithm": ED25519, "value": value, "key_id": key.key_id}
    return {**body, "signature": signature}


def verify_json(document: Mapping[str, object], key: SharedKey, where: object = None) -> None:
    """Check the signature in ``document``.

    Raises:
        SignatureError: there is none, or it does not fit document and key.
        KeyRefusedError: a PEM that is no Ed25519 public key.
    """
    signature = document.get("signature")
    if signature is None:
        raise SignatureError("there is no signature", where=where)
    body = _body(document)
    if not _is_pem(key):
        check_hmac_sha384(body, signature, key, where)
        return
    from cryptography.exceptions import InvalidSignature

    if not isinstance(signature, dict) or signature.get("algorithm") != ED25519:
        got = signature.get("algorithm") if isinstance(signature, dict) else signature
        raise SignatureError(
            "unknown signature algorithm", where=where, expected=ED25519, got=repr(got)[:80]
        )
    try:
        value = base64.b64decode(str(signature.get("value")), validate=True)
        _public(key).verify(value, canonical(body))
    except (binascii.Error, ValueError) as error:
        raise SignatureError("the signature is not base64", where=where) from error
    except InvalidSignature as error:
        raise SignatureError(
            "the signature does not fit: changed content, or another key", where=where
        ) from error


def _body(document: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in document.items() if name != "signature"}


def _is_pem(key: SharedKey) -> bool:
    return key.secret.lstrip().startswith(_PEM)


def _private(key: SharedKey) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key.secret, password=None)
    except (ValueError, TypeError) as error:
        raise KeyRefusedError(
            "the PEM holds no usable private key", expected="unencrypted PKCS#8, Ed25519"
        ) from error
    if not isinstance(loaded, ed25519.Ed25519PrivateKey):
        raise KeyRefusedError("the private key is of another kind", expected="Ed25519")
    return loaded


def _public(key: SharedKey) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in key.secret:
        raise KeyRefusedError(
            "this is the private key", expected="the public key", hint="keep it off devices"
        )
    try:
        loaded = load_pem_public_key(key.secret)
    except ValueError as error:
        raise KeyRefusedError("the PEM holds no usable public key", expected="Ed25519") from error
    if not isinstance(loaded, ed25519.Ed25519PublicKey):
        raise KeyRefusedError("the public key is of another kind", expected="Ed25519")
    return loaded
