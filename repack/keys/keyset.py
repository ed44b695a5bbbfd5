"""The keys of a label: which roles there are, which keys may sign for each, and how many must.

A key set is the file ``keys.json`` in a label's key folder. It holds public keys and where the
private ones are to be had, never a private key. It says what is *wanted*; the signed metadata
says what targets believe, and :mod:`repack.trust.metadata` brings the two together.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar, Final, Literal, get_args

from msgspec import Struct, field, structs

from repack.codec.canonical import loads
from repack.errors import KeyRefusedError
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

Role = Literal["root", "targets", "ci", "production", "snapshot", "timestamp"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
ONLINE: Final[tuple[Role, ...]] = ("ci", "snapshot", "timestamp")
"""The roles whose keys every build needs; the others can stay in a safe."""

Algorithm = Literal["ed25519", "ecdsa-p384"]

EXPIRY_DAYS: Final[Mapping[str, int]] = {
    "root": 3650,
    "targets": 800,
    "ci": 800,
    "production": 800,
    "snapshot": 400,
    "timestamp": 400,
}
"""Targets are offline: a stick may lie in a drawer for a year before somebody plugs it in."""
WARN_DAYS: Final = 30
MAX_BYTES: Final = 4 << 20
_FORMAT: Final = "repack-keys-1"


class PublicKey(Value, frozen=True):
    """A public key, the role it was made for, and where its private half is, if we know."""

    hidden_fields: ClassVar = ("uri",)

    keyid: str
    role: Role
    keytype: str
    scheme: str
    public: str
    uri: str | None = None
    development: bool = False

    def to_tuf(self) -> dict[str, object]:
        """The key as TUF metadata writes it."""
        return {
            "keytype": self.keytype,
            "scheme": self.scheme,
            "keyval": {"public": self.public},
        }


class RoleKeys(Struct, frozen=True):
    """Who signs for a role: ``threshold`` of ``keys``, by key id."""

    threshold: int
    keys: tuple[str, ...]


class KeySet(Struct, frozen=True):
    """All keys of a label. ``keys`` also holds retired ones: a rotation is signed by them too."""

    roles: Mapping[Role, RoleKeys] = field(default_factory=dict)
    keys: Mapping[str, PublicKey] = field(default_factory=dict)

    @property
    def development(self) -> bool:
        """Whether any role is still signed by a key that was made for development."""
        return any(
            self.keys[keyid].development for one in self.roles.values() for keyid in one.keys
        )

    def of(self, role: Role) -> RoleKeys:
        """Who signs for ``role``.

        Raises:
            KeyRefusedError: nobody does.
        """
        found = self.roles.get(role)
        if found is None or len(found.keys) < found.threshold:
            count = 0 if found is None else len(found.keys)
            raise KeyRefusedError(
                f"role {role} has too few keys",
                expected=1 if found is None else found.threshold,
                got=count,
                hint=f"make one: repack key new --role {role}",
            )
        return found

    def adding(self, key: PublicKey) -> KeySet:
        """The set with one more key for its role."""
        there = self.roles.get(key.role, RoleKeys(1, ()))
        if key.keyid in there.keys:
            return structs.replace(self, keys={**self.keys, key.keyid: key})
        role = RoleKeys(there.threshold, (*there.keys, key.keyid))
        return self._with(key.role, role, key)

    def replacing(self, key: PublicKey, retired: str | None) -> KeySet:
        """The set with ``key`` in the place of ``retired``, or of all keys of its role.

        Raises:
            KeyRefusedError: ``retired`` is no key of the role.
        """
        there = self.of(key.role)
        if retired is None:
            kept: tuple[str, ...] = ()
        elif retired in there.keys:
            kept = tuple(keyid for keyid in there.keys if keyid != retired)
        else:
            raise KeyRefusedError(f"no key of role {key.role}", got=retired[:80])
        threshold = there.threshold if retired is not None else 1
        return self._with(key.role, RoleKeys(threshold, (*kept, key.keyid)), key)

    def needing(self, role: Role, threshold: int) -> KeySet:
        """The set with another threshold for ``role``.

        Raises:
            KeyRefusedError: there are fewer keys than that.
        """
        there = self.roles.get(role, RoleKeys(1, ()))
        if not 1 <= threshold <= max(1, len(there.keys)):
            raise KeyRefusedError(
                f"a threshold of {threshold} cannot be met",
                expected=f"1 to {len(there.keys)}, the number of keys of role {role}",
            )
        roles = {**self.roles, role: RoleKeys(threshold, there.keys)}
        return structs.replace(self, roles=roles)

    def _with(self, role: Role, keys: RoleKeys, key: PublicKey) -> KeySet:
        return structs.replace(
            self, roles={**self.roles, role: keys}, keys={**self.keys, key.keyid: key}
        )

    def to_bytes(self) -> bytes:
        """The file ``keys.json``."""
        document = {
            "format": _FORMAT,
            "roles": {
                role: {"threshold": self.roles[role].threshold, "keys": list(self.roles[role].keys)}
                for role in ROLES
                if role in self.roles
            },
            "keys": {
                key.keyid: {
                    "role": key.role,
                    **key.to_tuf(),
                    "uri": key.uri,
                    "development": key.development,
                }
                for key in self.keys.values()
            },
        }
        return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def parse(data: bytes, where: object) -> KeySet:
    """Read ``keys.json``.

    Raises:
        KeyRefusedError: of another format, or inconsistent.
        IntegrityError: not strict JSON.
    """
    document = loads(data, where, MAX_BYTES)
    try:
        if not isinstance(document, dict) or document["format"] != _FORMAT:
            raise KeyRefusedError("not a key set", where=where, expected=f"format {_FORMAT}")
        keys = {keyid: parse_key(keyid, row) for keyid, row in document["keys"].items()}
        roles = {role_named(name): _role_keys(row) for name, row in document["roles"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise KeyRefusedError("the key set is malformed", where=where, got=repr(error)) from error
    unknown = {keyid for row in roles.values() for keyid in row.keys} - set(keys)
    if unknown:
        raise KeyRefusedError(
            "the key set is inconsistent", where=where, got=", ".join(sorted(unknown))
        )
    return KeySet(roles, keys)


def parse_key(keyid: str, row: Mapping[str, object]) -> PublicKey:
    """Read one public key.

    Raises:
        KeyError, TypeError, ValueError: malformed; the caller knows which file it stands in.
    """
    keyval, uri = row["keyval"], row.get("uri")
    if not isinstance(keyval, dict) or not (uri is None or isinstance(uri, str)):
        raise TypeError("keyval or uri")
    texts = (row["keytype"], row["scheme"], keyval["public"])
    if not all(isinstance(text, str) for text in (keyid, *texts)):
        raise TypeError("a field is no text")
    keytype, scheme, public = map(str, texts)
    made_for_development = row.get("development") is True
    role = role_named(row["role"])
    return PublicKey(keyid, role, keytype, scheme, public, uri, made_for_development)


def role_named(name: object) -> Role:
    """The role called ``name``.

    Raises:
        ValueError: there is none.
    """
    for role in ROLES:
        if role == name:
            return role
    raise ValueError(f"no role {str(name)[:40]!r}")


def _role_keys(row: Mapping[str, object]) -> RoleKeys:
    threshold, keys = row["threshold"], row["keys"]
    if not isinstance(threshold, int) or isinstance(threshold, bool) or threshold < 1:
        raise ValueError("threshold")
    if not isinstance(keys, list) or len(set(keys)) != len(keys):
        raise ValueError("keys")
    return RoleKeys(threshold, tuple(map(str, keys)))
