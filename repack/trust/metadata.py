"""The signed metadata of a label as one set: read, and every signature verified.

Formats and rules are TUF's, carried out by python-tuf's Metadata API; section numbers are those of
https://theupdateframework.github.io/specification/ of 2026-01-22. Root names the keys of targets,
snapshot and timestamp; targets delegates ``releases/*/manifest.json`` to ``production`` and ``ci``.
Snapshots are not "consistent" (6.2: no version in file names): a folder holds one state and is
exchanged whole, and people can copy files by names that stay. :mod:`repack.trust.editor` changes and
signs a set.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field
from tuf.api.metadata import Delegations, Metadata, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from repack.codec.canonical import canonical, loads
from repack.codec.sha256sums import SUMS, compose_sums
from repack.errors import (
    IntegrityError,
    KeyRefusedError,
    MetadataInvalidError,
    MetadataNotFoundError,
    MetadataUnsupportedError,
    MixAndMatchError,
    RootChainError,
    ThresholdError,
)
from repack.keys.keyset import check_distinct, check_key_id
from repack.timestamps import read_time
from repack.trust.recalls import RECALLED, parse_recalls
from repack.trust.selection import DEVELOPMENT, parse_release

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from repack.trust.selection import SignedFor, SignedRelease

MAX_BYTES: Final = 5_000_000
SPEC_MAJOR: Final = "1"
SIGNED_AT: Final = "x-repack-signed-at"
LABEL: Final = "x-repack-label"
CLOCK_RESET: Final = "x-repack-clock-reset"
"""Field of root metadata: the version of the root that last reset the targets' clock floor."""
# A client takes the first role in this order that signs a path (5.6.7); production adds the tags
DELEGATED: Final[tuple[SignedFor, ...]] = ("production", "ci")
ROLES_BELOW_ROOT: Final = (*DELEGATED, "targets", "snapshot", "timestamp")
_ROOT_FILE: Final = re.compile(r"([1-9][0-9]{0,5})\.root\.json")
_TYPES: Final[Mapping[str, type[Signed]]] = {
    "root": Root,
    "targets": Targets,
    "production": Targets,
    "ci": Targets,
    "snapshot": Snapshot,
    "timestamp": Timestamp,
}


def parse_metadata(data: bytes, role: str, where: object) -> Metadata[Any]:
    """Read one metadata file, strictly; signatures are not looked at.

    Raises:
        MetadataUnsupportedError: written after a newer major version of the specification.
        MetadataInvalidError: malformed, or of another type than ``role`` has; a key in it is not
            the one that its identifier names.
    """
    document = _read_json(data, where)
    signed = document.get("signed") if isinstance(document, dict) else None
    spec = signed.get("spec_version") if isinstance(signed, dict) else None
    if isinstance(spec, str) and spec.partition(".")[0] != SPEC_MAJOR:
        raise MetadataUnsupportedError(
            "unknown version of the TUF specification",
            where=where,
            expected=f"{SPEC_MAJOR}.x",
            got=spec[:40],
            hint="a newer repack may know it",
        )
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except DeserializationError as error:
        raise MetadataInvalidError(
            "the metadata is malformed", where=where, got=repr(error.__cause__)[:200]
        ) from error
    if canonical(metadata.to_dict()) != canonical(document):
        # python-tuf verifies signatures over what it parsed; that must be what the file says
        raise MetadataInvalidError("the metadata has more than one reading", where=where)
    if type(metadata.signed) is not _TYPES[role]:
        raise MetadataInvalidError(
            "metadata of another role", where=where, expected=role, got=metadata.signed.type
        )
    _check_keys(metadata.signed, where)
    return metadata


def _read_json(data: bytes, where: object) -> object:
    """Read strict JSON: what a cut-off copy leaves is as invalid as what somebody forged.

    Raises:
        MetadataInvalidError: it is none, or too large.
    """
    try:
        return loads(data, where, MAX_BYTES)
    except IntegrityError as error:
        raise MetadataInvalidError(
            f"the metadata cannot be read: {error.what}",
            where=where,
            expected=error.expected,
            got=error.got,
            hint="copy it again from where it was made",
        ) from error


def _check_keys(signed: Signed, where: object) -> None:
    """Check that each key is the one that its identifier names, and counts once in a role.

    Raises:
        MetadataInvalidError: a key is not, or does not.
    """
    if isinstance(signed, Root):
        delegator: Root | Delegations | None = signed
    else:
        delegator = signed.delegations if isinstance(signed, Targets) else None
    if delegator is None:
        return
    keys = delegator.keys
    try:
        for keyid, key in keys.items():
            check_key_id(keyid, key.keytype, key.scheme, str(key.keyval.get("public")), where)
        for name, role in (delegator.roles or {}).items():
            role_keys = [keys[keyid] for keyid in role.keyids if keyid in keys]
            pairs = [(key.keytype, str(key.keyval.get("public"))) for key in role_keys]
            check_distinct(name, pairs, where)
    except KeyRefusedError as error:
        raise MetadataInvalidError(
            error.what, where=where, expected=error.expected, got=error.got, hint=error.hint
        ) from error


class MetadataSet(Struct, frozen=True):
    """All metadata of a label, verified.

    Attributes:
        roots: the root chain, from version 1 on.
        roles: the metadata of all other roles.
        raw: the files' bytes by name: snapshot and timestamp hash them.
    """

    label: str
    roots: tuple[Metadata[Root], ...] = ()
    roles: Mapping[str, Metadata[Any]] = field(default_factory=dict)
    raw: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def load(cls, files: Mapping[str, bytes], label: str, where: object) -> MetadataSet:
        """Read a set and verify every signature in it, from root 1 on.

        Neither expiry nor the versions in snapshot and timestamp are checked: this is for the
        signing side, which renews both. Clients go through :mod:`repack.trust.client`.

        Raises:
            MetadataNotFoundError: a file is missing.
            RootChainError: the roots are no unbroken chain.
            ThresholdError: a role is signed by too few.
            MixAndMatchError: it is another label's.
            MetadataInvalidError: malformed.
        """
        roots = load_roots(files, where)
        other = roots[0].signed.unrecognized_fields.get(LABEL)
        if other != label:
            raise MixAndMatchError(
                "the metadata is another label's", where=where, expected=label, got=other
            )
        names = [f"{root.signed.version}.root.json" for root in roots]
        raw = {name: files[name] for name in names}
        roles: dict[str, Metadata[Any]] = {}
        for role in reversed(ROLES_BELOW_ROOT):
            name = f"{role}.json"
            if name not in files:
                raise MetadataNotFoundError("signed metadata is missing", where=where, got=name)
            roles[role], raw[name] = parse_metadata(files[name], role, name), files[name]
        metadata_set = cls(label, roots, roles, raw)
        for role in ROLES_BELOW_ROOT:
            delegator = roles["targets"] if role in DELEGATED else roots[-1]
            if not is_signed(role, roles[role], (delegator.signed,)):
                raise ThresholdError("signed by too few of the right keys", where=f"{role}.json")
        return metadata_set

    @property
    def root(self) -> Root:
        """The newest root."""
        return self.roots[-1].signed

    @property
    def development(self) -> bool:
        """Whether the keys are development keys, as the signed root says."""
        return self.root.unrecognized_fields.get(DEVELOPMENT) is True

    def newest(self, role: str) -> Metadata[Any] | None:
        """The newest metadata of ``role``; None before the first signing."""
        if role == "root":
            return self.roots[-1] if self.roots else None
        return self.roles.get(role)

    def releases(self, role: SignedFor) -> list[SignedRelease]:
        """All releases that ``role`` signs.

        Raises:
            MetadataInvalidError: one is not what repack signs.
        """
        return releases_in(self.roles[role].signed, role)

    def expiries(self) -> dict[str, datetime]:
        """Role -> when its metadata expires."""
        newest = {"root": self.roots[-1], **self.roles}
        return {role: metadata.signed.expires for role, metadata in newest.items()}

    def signed_at(self) -> dict[str, datetime]:
        """Role -> when its metadata was signed, as the signers say; of roots the newest counts."""
        parts: dict[str, Metadata[Any]] = {**self.roles}
        if self.roots:
            parts["root"] = self.roots[-1]
        times = {
            role: read_time(part.signed.unrecognized_fields.get(SIGNED_AT))
            for role, part in parts.items()
        }
        return {role: time for role, time in times.items() if time is not None}

    @property
    def clock_reset(self) -> int:
        """The version of the root that last ordered targets to forget their clock floor; or 0."""
        version = self.root.unrecognized_fields.get(CLOCK_RESET)
        return version if type(version) is int else 0

    @property
    def recalled(self) -> dict[int, str]:
        """Number of every recalled release -> why.

        Raises:
            MetadataInvalidError: malformed.
        """
        return recalls_in(self.roles["targets"].signed) if self.roles else {}

    def files(self) -> dict[str, bytes]:
        """Every file in the order of writing: roots, delegated roles … timestamp, SHA256SUMS."""
        names = [f"{root.signed.version}.root.json" for root in self.roots]
        names += [f"{role}.json" for role in ROLES_BELOW_ROOT]
        files = {name: self.raw[name] for name in names}
        return {**files, SUMS: compose_sums(files)}


def load_roots(files: Mapping[str, bytes], where: object) -> tuple[Metadata[Root], ...]:
    """Read the root chain from root 1 on, each signed by itself and by the one before.

    Source: TUF specification 5.3.4 and 5.3.5.

    Raises:
        MetadataNotFoundError: there is none.
        RootChainError: a link is missing or not signed.
        MetadataInvalidError: malformed.
    """
    numbers = sorted(int(match[1]) for name in files if (match := _ROOT_FILE.fullmatch(name)))
    if not numbers:
        raise MetadataNotFoundError("there is no root metadata", where=where)
    if numbers != list(range(1, len(numbers) + 1)):
        raise RootChainError("a link of the root chain is missing", where=where, got=numbers)
    roots: list[Metadata[Root]] = []
    for number in numbers:
        name = f"{number}.root.json"
        root = parse_metadata(files[name], "root", name)
        delegators = (*(old.signed for old in roots[-1:]), root.signed)
        if root.signed.version != number or not is_signed("root", root, delegators):
            raise RootChainError("a root is not signed by itself and the one before", where=name)
        roots.append(root)
    return tuple(roots)


def is_signed(role: str, metadata: Metadata[Any], delegators: tuple[Root | Targets, ...]) -> bool:
    """Whether ``metadata`` reaches the threshold that each of ``delegators`` sets for ``role``."""
    payload, signatures = metadata.signed_bytes, metadata.signatures
    try:
        return all(
            delegator.get_verification_result(role, payload, signatures) for delegator in delegators
        )
    except ValueError:  # no delegation to that role
        return False


def recalls_in(signed: Targets) -> dict[int, str]:
    """The recalls in the metadata of *targets*: number of the release -> why.

    Raises:
        MetadataInvalidError: malformed.
    """
    return parse_recalls(signed.unrecognized_fields.get(RECALLED, []), "targets.json")


def releases_in(signed: Targets, role: SignedFor) -> list[SignedRelease]:
    """The releases in one role's metadata.

    Raises:
        MixAndMatchError: a release says it is signed for the other type.
        MetadataInvalidError: one is not what repack signs.
    """
    releases = [
        parse_release(path, target.length, target.hashes, target.custom)
        for path, target in sorted(signed.targets.items())
    ]
    for release in releases:
        if release.type != role:
            raise MixAndMatchError(
                "a release says it is of another type than the role that signs it",
                where=f"{role}.json, {release.path}",
                expected=role,
                got=release.type,
            )
    return releases
