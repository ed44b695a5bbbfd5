"""A receipt: one small JSON file, signed by the device that it is of.

The file is canonical JSON and fits a QR code of version 40 (2,953 bytes): a list that is too long is
cut, its true length stands beside it.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, field
from msgspec.structs import replace

from repack.codec.canonical import canonical, loads
from repack.codec.decode import Document, decode, encode
from repack.errors import SignatureError
from repack.keys.shared_key import SharedKey
from repack.keys.signed_json import sign_json, verify_json
from repack.names import Digest, LabelName

LIMIT: Final = 64 << 10
MAX_BYTES: Final = 2900
"""A receipt is never longer."""
Number = Annotated[int, Meta(ge=1, le=2**53)]
_Text = Annotated[str, Meta(max_length=600)]


class Receipt(Document, frozen=True):
    """What a device says of itself.

    Attributes:
        number: higher with every receipt of this device.
        when: by the device's clock, UTC.
        key: the device's public key, PEM.
        release: the release in use; None where nothing is installed.
        manifest: SHA-256 of the installed release's manifest.
        health: ``good`` when the release in use passed its check.
        phase: the agent's, such as ``idle`` or ``pending``.
        rolled_back: releases that failed or were rolled back from, the last ones.
        changed: files that were changed by hand, as far as they fit.
        changed_count: how many there are; None when they could not be compared.
        virtual_packages: the machine's own, name to version (microarchitecture for __archspec).
        conda: the version of the conda that the machine has.
        free: free bytes where releases are installed.
        metadata: the versions of the signed metadata seen last, by role.
    """

    number: Number
    when: _Text
    label: LabelName
    platform: _Text
    fingerprint: _Text
    key: _Text
    phase: _Text
    health: Literal["good", "unknown"]
    release: int | None = None
    manifest: Digest | None = None
    rolled_back: tuple[int, ...] = ()
    changed: tuple[_Text, ...] = ()
    changed_count: int | None = None
    virtual_packages: dict[str, str] = field(default_factory=dict)
    conda: _Text | None = None
    free: int | None = None
    metadata: dict[str, int] = field(default_factory=dict)
    format: Literal[1] = 1

    @property
    def key_id(self) -> str:
        """What people compare of the device's key on the phone."""
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:16]
        return "-".join(digest[at : at + 4] for at in range(0, 16, 4))


def sign_receipt(receipt: Receipt, private_pem: bytes) -> bytes:
    """The receipt's file, at most :data:`MAX_BYTES` long."""
    key = SharedKey(receipt.key_id, private_pem)
    while True:
        data = canonical(sign_json(encode(receipt), key))
        if len(data) <= MAX_BYTES or not (receipt.changed or receipt.rolled_back):
            return data
        if receipt.changed:
            receipt = replace(receipt, changed=receipt.changed[: len(receipt.changed) // 2])
        else:
            receipt = replace(receipt, rolled_back=receipt.rolled_back[1:])


def read_receipt(data: bytes, where: object) -> Receipt:
    """Read a receipt, and check that the key it names signs it.

    Whether that key is the device's is for :mod:`repack.receipt.sites` to know.

    Raises:
        IntegrityError: it is no receipt.
        SignatureError: it was changed.
        KeyRefusedError: its key is none.
    """
    document: Any = loads(data, where, LIMIT)
    if not isinstance(document, dict):
        raise SignatureError("not a receipt: no JSON object", where=where)
    body = {name: value for name, value in document.items() if name != "signature"}
    receipt = decode(Receipt, body, where, "receipt")
    if canonical(encode(receipt)) != canonical(body):
        raise SignatureError(
            "not a receipt of this version of repack",
            where=where,
            got=", ".join(sorted(body.keys() - encode(receipt).keys()))[:200] or None,
        )
    verify_json(document, SharedKey(None, receipt.key.encode()), where)
    return receipt
