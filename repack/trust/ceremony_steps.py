"""Promote releases and rotate keys, at once or in a ceremony with keys on other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repack.errors import KeyRefusedError, MixAndMatchError, NoSuchReleaseError
from repack.trust import ceremony
from repack.trust.ceremony import Ceremony
from repack.trust.editor import Amendment
from repack.trust.selection import SignedRelease

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from repack.keys.keyring import Keyring
    from repack.keys.keyset import KeySet
    from repack.trust.metadata import MetadataSet


def promotion(base: MetadataSet, number: int, tags: Sequence[str], now: datetime) -> Amendment:
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
    amendment = Amendment(base, now)
    amendment.add(release, base.roles["ci"].signed.targets[one.path].hashes)
    return amendment


def rotation(base: MetadataSet, keys: KeySet, now: datetime) -> Amendment:
    """Make targets believe ``keys``.

    Raises:
        KeyRefusedError: a role has too few keys, or nothing would change.
    """
    amendment = Amendment(base, now)
    amendment.agree(keys)
    return amendment


def prepare(amendment: Amendment, keys: Keyring, keyset: KeySet | None = None) -> Ceremony:
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


def resume(given: Ceremony, base: MetadataSet, now: datetime) -> Amendment:
    """The change that comes back from a ceremony, to be published on ``base``.

    Raises:
        MixAndMatchError: it is another label's, or something else was published meanwhile.
        KeyRefusedError: the key set in it is not the one that was signed for.
    """
    if given.label != base.label:
        raise MixAndMatchError(
            "the ceremony was another label's", expected=base.label, got=given.label
        )
    amendment = Amendment(base, now)
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
    amendment = Amendment(after, now)
    amendment.agree(keys)
    if amendment.opened:
        raise KeyRefusedError(
            "the key set differs from the one that was signed for",
            got=", ".join(sorted(amendment.opened)),
        )


def read(data: bytes, where: object) -> Ceremony:
    """Read a ceremony's file. Raises as :func:`repack.trust.ceremony.parse` does."""
    return ceremony.parse(data, where)
