"""Change a label's signed metadata and sign it again.

An :class:`Amendment` opens the roles that must change, takes signatures until every one has
enough, and closes into a new :class:`~repack.trust.metadata.MetadataSet`. It may rest in between:
in a ceremony the signatures come from other machines. What nobody changed keeps its bytes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from repack.errors import KeyRefusedError, MixAndMatchError
from repack.keys.keyset import EXPIRY_DAYS
from repack.timestamps import read_time, stamp
from repack.trust.metadata import DELEGATED, LABEL, SIGNED_AT, MetadataSet, is_signed, releases_in
from repack.trust.selection import DEVELOPMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from securesystemslib.signer import Signer

    from repack.keys.keyset import KeySet
    from repack.keys.keyset import Role as RoleName
    from repack.trust.selection import SignedRelease

TARGET_PATTERN: Final = "releases/*/manifest.json"
_UNDER_ROOT: Final[tuple[RoleName, ...]] = ("root", "targets", "snapshot", "timestamp")


class MetadataEditor:
    """What is to change in ``base``; ``opened`` are the new versions, signed or not yet.

    Args:
        base: the set as it is; empty before the first signing.
        now: the time of signing.
        expiry: days per role; for a role that is not in it, as many as it had before.
    """

    def __init__(
        self, base: MetadataSet, now: datetime, expiry: Mapping[str, int] | None = None
    ) -> None:
        self.base = base
        self.now = now.replace(microsecond=0)
        self.expiry = expiry or {}
        self.opened: dict[str, Metadata[Any]] = {}

    # What changes

    def agree(self, keys: KeySet) -> None:
        """Open every role that must change so that targets believe exactly ``keys``.

        Raises:
            KeyRefusedError: a role has too few keys.
        """
        root = _root(keys, self.base.label)
        if not self.base.roots:
            self._place("root", root)
        elif not _same_root(self.base.root, root):
            root.version = self.base.root.version + 1
            self._place("root", root)
        delegations = _delegations(keys)
        if "targets" not in self.base.roles:
            self._place("targets", Targets(delegations=delegations))
            for delegated in DELEGATED:
                self._place(delegated, Targets())
            return
        if self.base.roles["targets"].signed.delegations != delegations:
            self.open("targets").delegations = delegations
        signers: tuple[RoleName, ...] = ("targets", *DELEGATED)
        for role in signers:
            metadata = self.base.roles[role]
            if role not in self.opened and not is_signed(role, metadata, self.delegators(role)):
                self.open(role)

    def add(self, release: SignedRelease, hashes: Mapping[str, str]) -> None:
        """Let the role of ``release.type`` sign for it; tags come on top of those it has.

        Raises:
            MixAndMatchError: another content was signed under the same number.
        """
        signed = self.open(release.type)
        there = {one.number: one for one in releases_in(signed, release.type)}
        old = there.get(release.number)
        if old is not None and old.sha256 != release.sha256:
            raise MixAndMatchError(
                f"release {release.number} was signed before with other content",
                expected=old.sha256,
                got=release.sha256,
            )
        custom = {
            "label": release.label,
            "release": release.number,
            "platforms": list(release.platforms),
            "tags": sorted({*release.tags, *(old.tags if old else ())}),
            "type": release.type,
        }
        target = TargetFile(release.length, dict(hashes), release.path, {"custom": custom})
        signed.targets[target.path] = target

    def open(self, role: RoleName) -> Any:
        """The next version of ``role``, to be changed."""
        if role not in self.opened:
            old = self.base.roles[role].signed
            signed = type(old).from_dict(old.to_dict())
            signed.version = old.version + 1
            self._place(role, signed)
        return self.opened[role].signed

    def _place(self, role: RoleName, signed: Signed) -> None:
        signed.expires = self.now + self._lifetime(role)
        signed.unrecognized_fields[SIGNED_AT] = stamp(self.now)
        self.opened[role] = Metadata(signed)

    def _lifetime(self, role: RoleName) -> timedelta:
        if role in self.expiry:
            return timedelta(days=self.expiry[role])
        old = self.base.roots[-1] if role == "root" and self.base.roots else None
        old = old or self.base.roles.get(role)
        began = read_time(old.signed.unrecognized_fields.get(SIGNED_AT)) if old else None
        if old is None or began is None:
            return timedelta(days=EXPIRY_DAYS[role])
        lifetime: timedelta = old.signed.expires - began
        return lifetime

    # Who signs

    def delegators(self, role: str) -> tuple[Root | Targets, ...]:
        """Whose word it is that says who signs ``role``: for a root the old one's and its own."""
        if role in DELEGATED:
            return ((self.opened.get("targets") or self.base.roles["targets"]).signed,)
        newest = self.opened["root"].signed if "root" in self.opened else self.base.root
        if role == "root" and self.base.roots:
            return (self.base.root, newest)
        return (newest,)

    def sign(self, signer_of: Callable[[str], Signer | None]) -> None:
        """Sign all that is open with every key that can be had here."""
        for role, metadata in self.opened.items():
            for delegator in self.delegators(role):
                for keyid in delegator.get_delegated_role(role).keyids:
                    if keyid not in metadata.signatures and (signer := signer_of(keyid)):
                        metadata.sign(signer, append=True)

    def missing(self) -> dict[str, str]:
        """Role -> what its signatures lack, in words."""
        found = {}
        for role, metadata in self.opened.items():
            for delegator in self.delegators(role):
                result = delegator.get_verification_result(
                    role, metadata.signed_bytes, metadata.signatures
                )
                if not result:
                    left = ", ".join(keyid[:16] for keyid in result.unsigned)
                    found[role] = f"{len(result.signed)} of {result.threshold}; not from {left}"
        return found

    # What comes of it

    def publish(self, signer_of: Callable[[str], Signer | None]) -> MetadataSet:
        """Sign what is open, and bind the new state together by snapshot and timestamp.

        Raises:
            KeyRefusedError: a key that is needed is not here.
        """
        self._seal(signer_of)
        snapshot = self._renew("snapshot", Snapshot())
        snapshot.meta = {f"{role}.json": self._meta(role) for role in ("targets", *DELEGATED)}
        self._seal(signer_of)
        self._renew("timestamp", Timestamp()).snapshot_meta = self._meta("snapshot")
        self._seal(signer_of)
        return self.base

    def _renew(self, role: RoleName, empty: Signed) -> Any:
        if role not in self.base.roles:
            self._place(role, empty)
        return self.open(role)

    def _meta(self, role: str) -> MetaFile:
        version = self.base.roles[role].signed.version
        return MetaFile.from_data(version, self.base.raw[f"{role}.json"], ["sha256"])

    def _seal(self, signer_of: Callable[[str], Signer | None]) -> None:
        self.sign(signer_of)
        if missing := self.missing():
            raise KeyRefusedError(
                "signatures are missing for " + ", ".join(sorted(missing)),
                expected="keys that can be used here",
                got="; ".join(f"{role}: {text}" for role, text in sorted(missing.items())),
                hint="sign in a ceremony: --prepare here, --sign there, --finish here",
            )
        roots, roles, raw = self.base.roots, dict(self.base.roles), dict(self.base.raw)
        for role, metadata in self.opened.items():
            name = f"{metadata.signed.version}.root.json" if role == "root" else f"{role}.json"
            raw[name] = metadata.to_bytes(JSONSerializer())
            if role == "root":
                roots = (*roots, metadata)
            else:
                roles[role] = metadata
        self.base = MetadataSet(self.base.label, roots, roles, raw)
        self.opened = {}


def _root(keys: KeySet, label: str) -> Root:
    roles: dict[str, Role] = {name: _role(keys, name) for name in _UNDER_ROOT}
    wanted = {keyid: _key(keys, keyid) for role in roles.values() for keyid in role.keyids}
    extra = {DEVELOPMENT: keys.development, LABEL: label}
    return Root(
        keys=wanted, roles=roles, consistent_snapshot=False, unrecognized_fields=dict(extra)
    )


def _same_root(old: Root, new: Root) -> bool:
    return (old.keys, old.roles, old.unrecognized_fields.get(DEVELOPMENT)) == (
        new.keys,
        new.roles,
        new.unrecognized_fields[DEVELOPMENT],
    )


def _delegations(keys: KeySet) -> Delegations:
    roles: dict[str, DelegatedRole] = {}
    for name in DELEGATED:
        role = _role(keys, name)
        roles[name] = DelegatedRole(
            name, role.keyids, role.threshold, terminating=False, paths=[TARGET_PATTERN]
        )
    return Delegations(
        {keyid: _key(keys, keyid) for role in roles.values() for keyid in role.keyids}, roles
    )


def _role(keys: KeySet, name: RoleName) -> Role:
    wanted = keys.keys_of(name)
    return Role(sorted(wanted.keys), wanted.threshold)


def _key(keys: KeySet, keyid: str) -> Key:
    return Key.from_dict(keyid, keys.keys[keyid].to_tuf())
