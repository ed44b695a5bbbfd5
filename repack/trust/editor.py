"""Change a label's signed metadata and sign it again.

A :class:`MetadataEditor` opens new versions of the roles that must change, collects signatures until
every one has its threshold, and closes into a new :class:`~repack.trust.metadata.MetadataSet`. In
between it can be written to a file: in a ceremony the signatures come from other machines. Metadata
of roles that do not change keeps its bytes.

Source: the TUF specification, section 6, "Repository operations".
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

from repack.codec.decode import encode
from repack.errors import KeyRefusedError, MixAndMatchError
from repack.keys.keyset import EXPIRY_DAYS
from repack.timestamps import read_time, stamp
from repack.trust.dates import check_signing_date
from repack.trust.metadata import (
    CLOCK_RESET,
    DELEGATED,
    LABEL,
    SIGNED_AT,
    MetadataSet,
    is_signed,
    recalls_in,
    releases_in,
)
from repack.trust.recalls import RECALLED, recall_rows
from repack.trust.selection import DEVELOPMENT, ReleaseCustom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from securesystemslib.signer import Signer

    from repack.keys.keyset import KeySet, RoleName
    from repack.trust.recalls import Recalls
    from repack.trust.selection import SignedRelease

TARGET_PATTERN: Final = "releases/*/manifest.json"
_UNDER_ROOT: Final[tuple[RoleName, ...]] = ("root", "targets", "snapshot", "timestamp")


class MetadataEditor:
    """The changes to ``base``; ``opened`` are the new versions, signed or not yet.

    Args:
        base: the set as it is; empty before the first signing.
        now: the time of signing.
        expiry: days per role; for a role that is not in it, as many as it had before.
        consent: confirms a date that would be refused, see :mod:`repack.trust.dates`.

    Raises:
        SigningDateError: ``now`` is before the last signing, or far from the machine's clock.
    """

    def __init__(
        self,
        base: MetadataSet,
        now: datetime,
        expiry: Mapping[str, int] | None = None,
        consent: str | None = None,
    ) -> None:
        check_signing_date(now, max(base.signed_at().values(), default=None), consent)
        self.base = base
        self.now = now.replace(microsecond=0)
        self.expiry = expiry or {}
        self.opened: dict[str, Metadata[Any]] = {}

    def apply_keyset(self, keys: KeySet) -> None:
        """Open every role that must change so that the metadata names exactly ``keys``.

        Root lists the keys of the top-level roles, targets those of the delegated ones (TUF 6.1).

        Raises:
            KeyRefusedError: a role has too few keys.
        """
        root = _root(keys, self.base.label)
        if self.base.roots and self.base.clock_reset:
            root.unrecognized_fields[CLOCK_RESET] = self.base.clock_reset
        if not self.base.roots:
            self._open_version("root", root)
        elif not _same_root(self.base.root, root):
            root.version = self.base.root.version + 1
            self._open_version("root", root)
        delegations = _delegations(keys)
        if "targets" not in self.base.roles:
            self._open_version("targets", Targets(delegations=delegations))
            for delegated in DELEGATED:
                self._open_version(delegated, Targets())
            return
        if self.base.roles["targets"].signed.delegations != delegations:
            self.open("targets").delegations = delegations
        # A role whose keys were replaced must be signed anew, or clients refuse it (TUF 5.6.3)
        signed_roles: tuple[RoleName, ...] = ("targets", *DELEGATED)
        for role in signed_roles:
            metadata = self.base.roles[role]
            if role not in self.opened and not is_signed(role, metadata, self.delegators(role)):
                self.open(role)

    def add(self, release: SignedRelease, hashes: Mapping[str, str]) -> None:
        """Add the release to the targets of role ``release.type``; tags that it has are kept.

        Source: TUF specification 6.3, "Adding and updating targets".

        Raises:
            MixAndMatchError: other content was signed under the same number.
        """
        signed = self.open(release.type)
        releases = releases_in(signed, release.type)
        old = next((old for old in releases if old.number == release.number), None)
        if old is not None and old.sha256 != release.sha256:
            raise MixAndMatchError(
                f"release {release.number} was signed before with other content",
                expected=old.sha256,
                got=release.sha256,
            )
        tags = tuple(sorted({*release.tags, *(old.tags if old else ())}))
        custom = ReleaseCustom(release.label, release.number, release.platforms, tags, release.type)
        fields = {"custom": encode(custom)}
        signed.targets[release.path] = TargetFile(
            release.length, dict(hashes), release.path, fields
        )

    def recall(self, recalls: Recalls) -> None:
        """Add ``recalls`` to those that *targets* signs; of a release recalled again, the reason.

        Raises:
            MetadataInvalidError: those that are signed already are malformed.
        """
        signed = self.open("targets")
        rows = recall_rows({**recalls_in(signed), **recalls})
        signed.unrecognized_fields[RECALLED] = rows

    def reset_clock(self) -> None:
        """Order targets to forget the time that they remember, by a new root."""
        if "root" not in self.opened:
            root = Root.from_dict(self.base.root.to_dict())
            root.version += 1
            self._open_version("root", root)
        root = self.opened["root"].signed
        root.unrecognized_fields[CLOCK_RESET] = root.version

    def open(self, role: RoleName) -> Any:
        """The next version of ``role``'s signed part, to be changed."""
        if role not in self.opened:
            old = self.base.roles[role].signed
            signed = type(old).from_dict(old.to_dict())
            signed.version = old.version + 1
            self._open_version(role, signed)
        return self.opened[role].signed

    def _open_version(self, role: RoleName, signed: Signed) -> None:
        signed.expires = self.now + self._lifetime(role)
        signed.unrecognized_fields[SIGNED_AT] = stamp(self.now)
        # In every role: who signs one label's metadata has not signed another's
        signed.unrecognized_fields[LABEL] = self.base.label
        self.opened[role] = Metadata(signed)

    def _lifetime(self, role: RoleName) -> timedelta:
        if role in self.expiry:
            return timedelta(days=self.expiry[role])
        old = self.base.newest(role)
        signed_at = read_time(old.signed.unrecognized_fields.get(SIGNED_AT)) if old else None
        if old is None or signed_at is None:
            return timedelta(days=EXPIRY_DAYS[role])
        lifetime: timedelta = old.signed.expires - signed_at
        return lifetime

    def delegators(self, role: str) -> tuple[Root | Targets, ...]:
        """The metadata that names the keys of ``role``.

        For a root these are two: it is signed by a threshold of the old root's keys and of its own
        (TUF 5.3.4).
        """
        if role in DELEGATED:
            return ((self.opened.get("targets") or self.base.roles["targets"]).signed,)
        newest = self.opened["root"].signed if "root" in self.opened else self.base.root
        if role == "root" and self.base.roots:
            return (self.base.root, newest)
        return (newest,)

    def sign(self, signer_of: Callable[[str], Signer | None]) -> None:
        """Sign all opened roles with every key that ``signer_of`` has."""
        for role, metadata in self.opened.items():
            for delegator in self.delegators(role):
                for keyid in delegator.get_delegated_role(role).keyids:
                    if keyid not in metadata.signatures and (signer := signer_of(keyid)):
                        metadata.sign(signer, append=True)

    def missing_signatures(self) -> dict[str, str]:
        """Role -> which signatures it lacks, in words."""
        missing = {}
        for role, metadata in self.opened.items():
            for delegator in self.delegators(role):
                result = delegator.get_verification_result(
                    role, metadata.signed_bytes, metadata.signatures
                )
                if not result:
                    unsigned = ", ".join(keyid[:16] for keyid in result.unsigned)
                    missing[role] = (
                        f"{len(result.signed)} of {result.threshold}; not from {unsigned}"
                    )
        return missing

    def publish(self, signer_of: Callable[[str], Signer | None]) -> MetadataSet:
        """Sign the opened roles, then a new snapshot, then a new timestamp.

        Source: TUF specification 6.3.1 and 6.3.2. Hashes in snapshot and timestamp are optional
        there; with them a client notices files that were never signed together (5.5.2, 5.6.2).

        Raises:
            KeyRefusedError: a key that is needed is not here.
        """
        self._close(signer_of)
        snapshot = self._open_or_create("snapshot", Snapshot())
        snapshot.meta = {f"{role}.json": self._meta(role) for role in ("targets", *DELEGATED)}
        self._close(signer_of)
        self._open_or_create("timestamp", Timestamp()).snapshot_meta = self._meta("snapshot")
        self._close(signer_of)
        return self.base

    def _open_or_create(self, role: RoleName, empty: Signed) -> Any:
        if role not in self.base.roles:
            self._open_version(role, empty)
        return self.open(role)

    def _meta(self, role: str) -> MetaFile:
        version = self.base.roles[role].signed.version
        return MetaFile.from_data(version, self.base.raw[f"{role}.json"], ["sha256"])

    def _close(self, signer_of: Callable[[str], Signer | None]) -> None:
        self.sign(signer_of)
        if missing := self.missing_signatures():
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
    return Root(
        keys=_keys_of(keys, roles.values()),
        roles=roles,
        consistent_snapshot=False,  # TUF 6.2; the reason stands in repack.trust.metadata
        unrecognized_fields={DEVELOPMENT: keys.development, LABEL: label},
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
        # Not terminating: a client that searches goes on from production to ci (TUF 5.6.7)
        roles[name] = DelegatedRole(
            name, role.keyids, role.threshold, terminating=False, paths=[TARGET_PATTERN]
        )
    return Delegations(_keys_of(keys, roles.values()), roles)


def _role(keys: KeySet, name: RoleName) -> Role:
    role_keys = keys.keys_of(name)
    return Role(sorted(role_keys.keys), role_keys.threshold)


def _keys_of(keys: KeySet, roles: Iterable[Role]) -> dict[str, Key]:
    return {
        keyid: Key.from_dict(keyid, keys.keys[keyid].to_tuf())
        for role in roles
        for keyid in role.keyids
    }
