"""What a ceremony's signer is shown: all of it out of what is signed, nothing as the file tells it.

Two parts. :func:`describe` says what is signed; it is the same on every machine, so that build
machine and signer can compare it aloud. :func:`compare_with_ring` says how that fits the signer's own
keys. Release numbers, labels, tags and hashes stand in the metadata; packages in the manifest, which
counts only where its hash is the signed one. Texts are shown in ASCII, everything else as escapes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from tuf.api.metadata import DelegatedRole, Delegations, Key, Root, Targets

from repack.channel.manifest import parse as parse_manifest
from repack.display import visible
from repack.errors import IntegrityError, KeyRefusedError
from repack.keys.keyset import key_fingerprint
from repack.trust.metadata import (
    CLOCK_RESET,
    DELEGATED,
    SIGNED_AT,
    is_signed,
    recalls_in,
    releases_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuf.api.metadata import Metadata, Role

    from repack.keys.keyset import KeySet
    from repack.trust.ceremony import Ceremony
    from repack.trust.selection import SignedFor, SignedRelease

_NO_CONTENT: Final = "    its packages are NOT in this file"


def describe(ceremony: Ceremony) -> tuple[str, ...]:
    """What is signed, in words.

    Raises:
        IntegrityError: a manifest in the file is not the one that is signed for.
    """
    lines = [f"label {ceremony.label}"]
    for role, metadata in ceremony.opened.items():
        signed = metadata.signed
        date = signed.unrecognized_fields.get(SIGNED_AT)
        lines.append(
            f"{role} version {signed.version}, dated {date}, valid until {signed.expires:%Y-%m-%d}"
        )
        if role in DELEGATED:
            lines += _releases(ceremony, role, _published_before(ceremony, role))
        else:
            lines += _roles(metadata)
        if role == "targets":
            lines += _recalls(ceremony)
    return tuple(visible(line) for line in lines)


def compare_with_ring(ceremony: Ceremony, ring: KeySet) -> tuple[str, ...]:
    """How the keys and releases fit the signer's own key set.

    Raises:
        KeyRefusedError: a release that he would sign for the first time is not shown.
        IntegrityError: a manifest in the file is not the one that is signed for.
    """
    lines: list[str] = []
    for role, metadata in ceremony.opened.items():
        if role not in DELEGATED:
            lines += _compare_keys(role, metadata, ring)
        elif any(key.role == role for key in ring.keys.values()):
            lines += _compare_releases(ceremony, role, ring)
    return tuple(visible(line) for line in lines)


def _roles(metadata: Metadata[Any]) -> Iterator[str]:
    signed, delegator = metadata.signed, _delegator(metadata)
    if signed.unrecognized_fields.get(CLOCK_RESET) == signed.version:
        yield "  targets forget the time that they remember"
    for name, role in delegator[1].items():
        yield f"  {name}: {role.threshold} of {len(role.keyids)}"
        for keyid in role.keyids:
            key = delegator[0][keyid]
            fingerprint = key_fingerprint(key.keytype, str(key.keyval["public"]))
            yield f"    key {keyid}"
            yield f"      {key.scheme}, fingerprint {fingerprint}"


def _recalls(ceremony: Ceremony) -> Iterator[str]:
    """What *targets* recalls; the reasons are part of what is signed."""
    before = ceremony.before.get("targets")
    published = recalls_in(before.signed) if before is not None else {}
    for number, why in sorted(recalls_in(ceremony.opened["targets"].signed).items()):
        is_new = published.get(number) != why
        yield f"  release {number} is RECALLED for good{', new here' if is_new else ''}: {why}"


def _delegator(metadata: Metadata[Any]) -> tuple[Mapping[str, Key], Mapping[str, Role]]:
    """The keys and roles that root or targets name."""
    signed = metadata.signed
    delegator = signed if isinstance(signed, Root) else signed.delegations
    return (delegator.keys, delegator.roles or {}) if delegator is not None else ({}, {})


def _compare_keys(role: str, metadata: Metadata[Any], ring: KeySet) -> Iterator[str]:
    keys, roles = _delegator(metadata)
    for name, signed_role in roles.items():
        for keyid in signed_role.keyids:
            own = ring.keys.get(keyid)
            if keyid not in keys or own is None:
                yield f"{role} names a key for {name} that is NOT IN YOUR RING: {keyid}"
            elif own.role != name:
                yield f"{role} names a key for {name} that is {own.role}'s in your ring: {keyid}"
        own_role = ring.roles.get(name)  # type: ignore[call-overload]
        if own_role is None:
            continue
        for keyid in own_role.keys:
            if keyid not in signed_role.keyids:
                yield f"{role} does NOT name a key for {name} that is in your ring: {keyid}"
        if own_role.threshold != signed_role.threshold:
            yield (
                f"{role} asks for {signed_role.threshold} keys for {name}, "
                f"your ring for {own_role.threshold}"
            )


def _releases(
    ceremony: Ceremony, role: SignedFor, before: Mapping[int, SignedRelease]
) -> Iterator[str]:
    releases = releases_in(ceremony.opened[role].signed, role)
    for release in sorted(releases, key=lambda release: release.number):
        old = before.get(release.number)
        is_new = old is None or old.sha256 != release.sha256
        yield (
            f"  release {release.number} for {', '.join(release.platforms)}"
            + (f", tags {', '.join(release.tags)}" if release.tags else "")
            + (", new here" if is_new else "")
        )
        yield f"    manifest sha256 {release.sha256}, {release.length} bytes"
        if is_new:
            yield from _packages(ceremony, release, releases)
        elif old is not None and (old.tags, old.platforms) != (release.tags, release.platforms):
            yield f"    before: for {', '.join(old.platforms)}, tags {', '.join(old.tags) or 'none'}"


def _packages(
    ceremony: Ceremony, release: SignedRelease, releases: list[SignedRelease]
) -> Iterator[str]:
    """The packages of a release, as changes to the one before it where that is here."""
    new = _artifacts(ceremony, release)
    if new is None:
        yield _NO_CONTENT
        return
    earlier = [one for one in releases if one.number < release.number]
    base = max(earlier, key=lambda one: one.number, default=None)
    old = None if base is None else _artifacts(ceremony, base)
    since = f"since release {base.number}" if base and old is not None else "no release before it"
    yield f"    {len(new)} files; {since}:"
    old = old or {}
    yield from (f"      - {path}" for path in sorted(old.keys() - new.keys()))
    yield from (f"      + {path}" for path in sorted(new.keys() - old.keys()))
    changed = (path for path in sorted(new.keys() & old.keys()) if new[path] != old[path])
    yield from (f"      ! {path}: other content under the same name" for path in changed)


def _artifacts(ceremony: Ceremony, release: SignedRelease) -> dict[str, str | None] | None:
    """Path -> SHA-256 of a release's files; None where its manifest is not in the ceremony's file.

    Raises:
        IntegrityError: the manifest there is not the one that is signed for.
    """
    data = ceremony.manifests.get(release.number)
    if data is None:
        return None
    where = f"manifest of release {release.number} in the ceremony's file"
    digest = hashlib.sha256(data).hexdigest()
    manifest = parse_manifest(data, where) if digest == release.sha256 else None
    if manifest is None or (manifest.id, manifest.release) != (release.label, release.number):
        raise IntegrityError(
            "the manifest is not the one that is signed for",
            where=where,
            expected=release.sha256,
            got=digest,
        )
    return {row.path: row.sha256 or row.sha384 for row in manifest.artifacts}


def _published_before(ceremony: Ceremony, role: SignedFor) -> dict[int, SignedRelease]:
    """What the file says that ``role`` signs for already; a signer's ring tells whether it does."""
    metadata = ceremony.before.get(role)
    if metadata is None or metadata.signed.version >= ceremony.opened[role].signed.version:
        return {}
    return {release.number: release for release in releases_in(metadata.signed, role)}


def _compare_releases(ceremony: Ceremony, role: SignedFor, ring: KeySet) -> Iterator[str]:
    before = _published_before(ceremony, role)
    if before and not _is_signed_by_ring(ceremony.before[role], role, ring):
        yield f"what {role} is said to sign for already is NOT signed by a key of your ring:"
        before = {}
        yield from _releases(ceremony, role, before)
    for release in releases_in(ceremony.opened[role].signed, role):
        old = before.get(release.number)
        is_shown = release.number in ceremony.manifests
        if (old is None or old.sha256 != release.sha256) and not is_shown:
            raise KeyRefusedError(
                f"the ceremony's file does not show what is in release {release.number}",
                where=role,
                hint="prepare it where the release's history is",
            )


def _is_signed_by_ring(metadata: Metadata[Any], role: str, ring: KeySet) -> bool:
    """Whether any of the signer's own keys for ``role`` has signed ``metadata``."""
    keys = {
        key.keyid: Key.from_dict(key.keyid, key.to_tuf())
        for key in ring.keys.values()
        if key.role == role
    }
    delegated = DelegatedRole(role, sorted(keys), 1, terminating=False, paths=["*"])
    return is_signed(role, metadata, (Targets(delegations=Delegations(keys, {role: delegated})),))
