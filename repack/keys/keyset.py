"""The keys of a label: its roles, the keys that may sign for each, and how many must.

A key set is the file ``keys.json`` in a label's key folder. It holds public keys and the URIs of
the private ones, never a private key. It says how the label is *to be* signed; targets go by the
signed metadata, which :meth:`repack.trust.editor.MetadataEditor.apply_keyset` brings in line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, get_args

from msgspec import Meta, Struct, field, structs

from repack.codec.canonical import loads
from repack.codec.decode import Document, decode, encode
from repack.errors import KeyRefusedError
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RoleName = Literal["root", "targets", "ci", "production", "snapshot", "timestamp"]
ROLES: Final[tuple[RoleName, ...]] = get_args(RoleName)
ONLINE: Final[tuple[RoleName, ...]] = ("ci", "snapshot", "timestamp")
"""The roles whose keys every build needs; the keys of the others can be kept offline."""

Algorithm = Literal["ed25519", "ecdsa-p384"]

EXPIRY_DAYS: Final[Mapping[str, int]] = {
    "root": 3650,
    "targets": 800,
    "ci": 800,
    "production": 800,
    "snapshot": 400,
    "timestamp": 400,
}
"""Targets are offline: a medium may be a year old when it is used."""
WARN_DAYS: Final = 30
MAX_BYTES: Final = 4 << 20
_FORMAT: Final = "repack-keys-1"


# DER of SubjectPublicKeyInfo (RFC 8410) up to the 32 bytes of the key
_ED25519_DER: Final = bytes.fromhex("302a300506032b6570032100")


def key_id(keytype: str, scheme: str, public: str) -> str:
    """The identifier of a key: the SHA-256 of its canonical form.

    Source: TUF specification 4.2.2; the form is OLPC's canonical JSON, which escapes nothing but
    quotes and backslashes. An identifier that is read anywhere is compared with this: two parties
    who trust a name rather than the key behind it can be given two keys.
    """
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in (keytype, public, scheme))
    form = '{{"keytype":"{}","keyval":{{"public":"{}"}},"scheme":"{}"}}'.format(*quoted)
    return hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest()


def key_fingerprint(keytype: str, public: str) -> str:
    """The SHA-256 of the public key in DER, as ``openssl pkey -pubin -outform DER`` gives it.

    Raises:
        KeyRefusedError: it is no public key.
    """
    try:
        if keytype == "ed25519":
            der = _ED25519_DER + bytes.fromhex(public)
        else:
            der = base64.b64decode("".join(public.split("-----")[2].split()), validate=True)
    except (ValueError, IndexError, binascii.Error) as error:
        raise KeyRefusedError("not a public key", got=public[:80]) from error
    return hashlib.sha256(der).hexdigest()


def check_key_id(keyid: str, keytype: str, scheme: str, public: str, where: object) -> None:
    """Check that an identifier is that of its key.

    Raises:
        KeyRefusedError: it is another key's, or no key's.
    """
    expected = key_id(keytype, scheme, public)
    if keyid != expected:
        raise KeyRefusedError(
            "a key is not the one that its identifier names",
            where=where,
            expected=expected,
            got=keyid[:80],
            hint="somebody put another key in its place",
        )


def check_distinct(role: str, keys: Sequence[tuple[str, str]], where: object) -> None:
    """Check that no key counts twice towards a threshold, whatever scheme it is given.

    Args:
        role: whose keys they are.
        keys: keytype and public half of each.
        where: the file they are in.

    Raises:
        KeyRefusedError: one does, or is no public key.
    """
    fingerprints = [key_fingerprint(keytype, public) for keytype, public in keys]
    if len(set(fingerprints)) != len(fingerprints):
        raise KeyRefusedError(f"role {role} has one key twice", where=where)


class PublicKey(Value, frozen=True):
    """A public key, the role it was made for, and the URI of its private half if that is known.

    Attributes:
        keyid: the TUF key identifier.
        keytype: TUF's keytype (specification 4.2.2), as are ``scheme`` and ``public``.
    """

    hidden_fields: ClassVar = ("uri",)

    keyid: str
    role: RoleName
    keytype: str
    scheme: str
    public: str
    uri: str | None = None
    development: bool = False

    @property
    def fingerprint(self) -> str:
        """See :func:`key_fingerprint`."""
        return key_fingerprint(self.keytype, self.public)

    def to_tuf(self) -> dict[str, object]:
        """The key as TUF metadata writes it."""
        return {
            "keytype": self.keytype,
            "scheme": self.scheme,
            "keyval": {"public": self.public},
        }


class RoleKeys(Document, frozen=True):
    """Who signs for a role: ``threshold`` of ``keys``, by key id."""

    threshold: Annotated[int, Meta(ge=1)]
    keys: tuple[str, ...]


class _KeyValue(Document, frozen=True):
    public: str


class _KeyEntry(Document, frozen=True):
    role: RoleName
    keytype: str
    scheme: str
    keyval: _KeyValue
    uri: str | None = None
    development: bool = False


class _KeySetFile(Document, frozen=True):
    format: Literal["repack-keys-1"]
    roles: dict[RoleName, RoleKeys]
    keys: dict[str, _KeyEntry]


class KeySet(Struct, frozen=True):
    """All keys of a label.

    ``keys`` also holds retired ones: a root rotation is signed by the old keys too (TUF 6.1).
    """

    roles: Mapping[RoleName, RoleKeys] = field(default_factory=dict)
    keys: Mapping[str, PublicKey] = field(default_factory=dict)

    @property
    def development(self) -> bool:
        """Whether any role is still signed by a key that was made for development."""
        return any(
            self.keys[keyid].development for role in self.roles.values() for keyid in role.keys
        )

    def keys_of(self, role: RoleName) -> RoleKeys:
        """Who signs for ``role``.

        Raises:
            KeyRefusedError: it has fewer keys than its threshold.
        """
        role_keys = self.roles.get(role, RoleKeys(1, ()))
        if len(role_keys.keys) < role_keys.threshold:
            raise KeyRefusedError(
                f"role {role} has too few keys",
                expected=role_keys.threshold,
                got=len(role_keys.keys),
                hint=f"make one: repack key new NAME --role {role}",
            )
        return role_keys

    def with_key(self, key: PublicKey) -> KeySet:
        """The set with one more key for its role."""
        old = self.roles.get(key.role, RoleKeys(1, ()))
        keyids = dict.fromkeys((*old.keys, key.keyid))
        return self._with(key.role, RoleKeys(old.threshold, tuple(keyids)), key)

    def with_replaced_key(self, key: PublicKey, retired: str | None) -> KeySet:
        """The set with ``key`` in the place of ``retired``, or of all keys of its role.

        Raises:
            KeyRefusedError: ``retired`` is no key of the role.
        """
        old = self.keys_of(key.role)
        if retired is None:
            return self._with(key.role, RoleKeys(1, (key.keyid,)), key)
        if retired not in old.keys:
            raise KeyRefusedError(f"no key of role {key.role}", got=retired[:80])
        kept = tuple(keyid for keyid in old.keys if keyid != retired)
        return self._with(key.role, RoleKeys(old.threshold, (*kept, key.keyid)), key)

    def with_threshold(self, role: RoleName, threshold: int) -> KeySet:
        """The set with another threshold for ``role``.

        Raises:
            KeyRefusedError: there are fewer keys than that.
        """
        keyids = self.roles.get(role, RoleKeys(1, ())).keys
        if not 1 <= threshold <= max(1, len(keyids)):
            raise KeyRefusedError(
                f"a threshold of {threshold} cannot be met",
                expected=f"1 to {len(keyids)}, the number of keys of role {role}",
            )
        roles = {**self.roles, role: RoleKeys(threshold, keyids)}
        return structs.replace(self, roles=roles)

    def _with(self, role: RoleName, keys: RoleKeys, key: PublicKey) -> KeySet:
        return KeySet({**self.roles, role: keys}, {**self.keys, key.keyid: key})

    def to_bytes(self) -> bytes:
        """The file ``keys.json``."""
        roles = {role: self.roles[role] for role in ROLES if role in self.roles}
        keys = {
            key.keyid: _KeyEntry(
                key.role, key.keytype, key.scheme, _KeyValue(key.public), key.uri, key.development
            )
            for key in self.keys.values()
        }
        document = encode(_KeySetFile(_FORMAT, roles, keys))
        return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def parse_keyset(data: bytes, where: object) -> KeySet:
    """Read ``keys.json``.

    Raises:
        KeyRefusedError: of another format, or inconsistent; a key is not the one that its
            identifier names.
        IntegrityError: not strict JSON.
    """
    document = loads(data, where, MAX_BYTES)
    file = decode(_KeySetFile, document, where, "key set", KeyRefusedError)
    wrong = {
        keyid
        for role in file.roles.values()
        for keyid in role.keys
        if keyid not in file.keys or role.keys.count(keyid) > 1
    }
    if wrong:
        raise KeyRefusedError(
            "the key set is inconsistent",
            where=where,
            expected="each key of a role once, and among the keys",
            got=", ".join(sorted(wrong)),
        )
    for keyid, entry in file.keys.items():
        check_key_id(keyid, entry.keytype, entry.scheme, entry.keyval.public, where)
    for role, role_keys in file.roles.items():
        entries = [file.keys[keyid] for keyid in role_keys.keys]
        check_distinct(role, [(key.keytype, key.keyval.public) for key in entries], where)
    keys = {
        keyid: PublicKey(
            keyid,
            entry.role,
            entry.keytype,
            entry.scheme,
            entry.keyval.public,
            entry.uri,
            entry.development,
        )
        for keyid, entry in file.keys.items()
    }
    return KeySet(file.roles, keys)
