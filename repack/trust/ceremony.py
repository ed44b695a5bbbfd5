"""A signing ceremony's file: what is to be signed, carried to the keys and back.

Made on the build machine, signed on one or more machines that hold keys and nothing else, taken
in on the build machine again. The file is not trusted anywhere: who signs is shown what stands in
it, and signs only for a role that his own key set gives him; what comes back is held against the
metadata that is published.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from repack.codec.canonical import canonical, loads
from repack.errors import (
    KeyRefusedError,
    MetadataInvalidError,
    MixAndMatchError,
    NoSuchReleaseError,
)
from repack.keys.keyset import KeySet
from repack.keys.keyset import parse as parse_keyset
from repack.trust.editor import MetadataEditor
from repack.trust.metadata import DELEGATED, MAX_BYTES, ROLES_BELOW_ROOT, releases_in
from repack.trust.metadata import parse as parse_metadata
from repack.trust.selection import SignedRelease

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from tuf.api.metadata import Metadata

    from repack.keys.keyring import Keyring
    from repack.keys.keyset import KeySet
    from repack.trust.metadata import MetadataSet


_FORMAT: Final = "repack-ceremony-1"


class Ceremony(Struct, frozen=True):
    """New metadata that lacks signatures.

    Attributes:
        opened: role -> its new metadata, with the signatures made so far.
        signers: role -> key ids that may sign it.
        keyset: the key set that this brings into force, if it brings one.
    """

    label: str
    opened: Mapping[str, Metadata[Any]]
    signers: Mapping[str, tuple[str, ...]]
    keyset: KeySet | None = None

    def to_bytes(self) -> bytes:
        """The file that travels."""
        document = {
            "format": _FORMAT,
            "label": self.label,
            "what": list(self.lines()),
            "signers": {role: list(keyids) for role, keyids in self.signers.items()},
            "metadata": {role: metadata.to_dict() for role, metadata in self.opened.items()},
            "keyset": None if self.keyset is None else json.loads(self.keyset.to_bytes()),
        }
        return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"

    def lines(self) -> tuple[str, ...]:
        """What is signed, in words, from the metadata itself."""
        found = [f"label {self.label}"]
        for role, metadata in self.opened.items():
            signed = metadata.signed
            found.append(f"{role} version {signed.version}, valid until {signed.expires:%Y-%m-%d}")
            if role in DELEGATED:
                found += [
                    f"  release {one.number} for {', '.join(one.platforms)}"
                    + (f", tags {', '.join(one.tags)}" if one.tags else "")
                    for one in releases_in(signed, role)
                ]
            elif role == "root":
                found += [
                    f"  {name}: {one.threshold} of {', '.join(k[:16] for k in one.keyids)}"
                    for name, one in signed.roles.items()
                ]
            elif signed.delegations is not None:
                found += [
                    f"  {name}: {one.threshold} of {', '.join(k[:16] for k in one.keyids)}"
                    for name, one in (signed.delegations.roles or {}).items()
                ]
        return tuple(found)


def parse(data: bytes, where: object) -> Ceremony:
    """Read a ceremony's file; signatures are not looked at.

    Raises:
        KeyRefusedError: it is none.
        MetadataInvalidError: the metadata in it is malformed.
        IntegrityError: not strict JSON.
    """
    document = loads(data, where, 4 * MAX_BYTES)
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise KeyRefusedError("not a ceremony's file", where=where, expected=f"format {_FORMAT}")
    label, rows, signers = (document.get(name) for name in ("label", "metadata", "signers"))
    if not isinstance(label, str) or not isinstance(rows, dict) or not isinstance(signers, dict):
        raise KeyRefusedError("the ceremony's file is malformed", where=where)
    opened: dict[str, Metadata[Any]] = {}
    for role, row in rows.items():
        if role not in ("root", *ROLES_BELOW_ROOT[:3]):
            raise KeyRefusedError("a role that no ceremony signs", where=where, got=role[:40])
        opened[role] = parse_metadata(canonical(row), role, f"{where}, {role}")
    keyset = document.get("keyset")
    try:
        return Ceremony(
            label,
            opened,
            {role: tuple(map(str, signers[role])) for role in opened},
            None if keyset is None else parse_keyset(canonical(keyset), where),
        )
    except (KeyError, TypeError) as error:
        raise MetadataInvalidError("the ceremony's file is malformed", where=where) from error


def promotion(base: MetadataSet, number: int, tags: Sequence[str], now: datetime) -> MetadataEditor:
    """Let ``production`` sign for release ``number``, which ``ci`` has signed, under ``tags``.

    Raises:
        NoSuchReleaseError: ``ci`` has not signed it.
        MixAndMatchError: ``production`` has signed other content under that number.
    """
    built = {one.number: one for one in base.releases("ci")} if base.roots else {}
    if number not in built:
        known = ", ".join(map(str, sorted(built))) or "none"
        raise NoSuchReleaseError(f"release {number} was never signed", expected=known)
    one = built[number]
    release = SignedRelease(
        number=number,
        label=one.label,
        platforms=one.platforms,
        tags=tuple(tags),
        type="production",
        length=one.length,
        sha256=one.sha256,
    )
    amendment = MetadataEditor(base, now)
    amendment.add(release, base.roles["ci"].signed.targets[one.path].hashes)
    return amendment


def rotation(base: MetadataSet, keys: KeySet, now: datetime) -> MetadataEditor:
    """Make targets believe ``keys``.

    Raises:
        KeyRefusedError: a role has too few keys, or nothing would change.
    """
    amendment = MetadataEditor(base, now)
    amendment.agree(keys)
    return amendment


def prepare(amendment: MetadataEditor, keys: Keyring, keyset: KeySet | None = None) -> Ceremony:
    """What has to be signed elsewhere; keys that can be used here have signed already."""
    amendment.sign(keys.signer)
    signers = {
        role: tuple(
            dict.fromkeys(
                keyid
                for delegator in amendment.delegators(role)
                for keyid in delegator.get_delegated_role(role).keyids
            )
        )
        for role in amendment.opened
    }
    return Ceremony(amendment.base.label, amendment.opened, signers, keyset)


def sign(given: Ceremony, keys: Keyring) -> list[str]:
    """Sign what is given with every key that is here and was made for the role; say with which.

    Raises:
        KeyRefusedError: no key that is here may sign anything in it.
    """
    used = []
    for role, metadata in given.opened.items():
        for keyid in given.signers[role]:
            mine = keys.keyset.keys.get(keyid)
            # The file says who may sign; that it is our key, and for this role, is ours to say.
            if mine is None or mine.role != role or keyid in metadata.signatures:
                continue
            if signer := keys.signer(keyid):
                metadata.sign(signer, append=True)
                used.append(f"{role} with {keyid[:16]}")
    if not used:
        raise KeyRefusedError(
            "no key here can add a signature",
            where=keys.folder,
            expected="one of " + ", ".join(k[:16] for ids in given.signers.values() for k in ids),
        )
    return used


def resume(given: Ceremony, base: MetadataSet, now: datetime) -> MetadataEditor:
    """The change that comes back from a ceremony, to be published on ``base``.

    Raises:
        MixAndMatchError: it is another label's, or something else was published meanwhile.
        KeyRefusedError: the key set in it is not the one that was signed for.
    """
    if given.label != base.label:
        raise MixAndMatchError(
            "the ceremony was another label's", expected=base.label, got=given.label
        )
    amendment = MetadataEditor(base, now)
    for role, metadata in given.opened.items():
        old = base.roots[-1:] if role == "root" else filter(None, [base.roles.get(role)])
        expected = max((one.signed.version for one in old), default=0) + 1
        if metadata.signed.version != expected:
            raise MixAndMatchError(
                "something else was published since the ceremony was prepared",
                where=f"{role} of label {base.label}",
                expected=f"version {expected}",
                got=metadata.signed.version,
                hint="prepare a new one",
            )
        amendment.opened[role] = metadata
    return amendment


def check_keyset(after: MetadataSet, keys: KeySet, now: datetime) -> None:
    """Make sure that ``keys`` is what the signed metadata says.

    Raises:
        KeyRefusedError: it is not; somebody changed the ceremony's file.
    """
    amendment = MetadataEditor(after, now)
    amendment.agree(keys)
    if amendment.opened:
        raise KeyRefusedError(
            "the key set differs from the one that was signed for",
            got=", ".join(sorted(amendment.opened)),
        )
