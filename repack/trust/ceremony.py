"""A signing ceremony's file: metadata that lacks signatures, carried to the keys and back.

Prepared on the build machine, signed on one or more machines that hold keys and nothing else, and
finished on the build machine. The file is trusted nowhere: a signer is shown what the metadata in it
says (:mod:`repack.trust.disclosure`), and signs only for a role that his own key set gives his key;
what comes back is compared with the metadata that is published.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from repack.codec.canonical import canonical, loads
from repack.codec.decode import Document, decode
from repack.errors import KeyRefusedError, MixAndMatchError, NoSuchReleaseError, UsageError
from repack.keys.keyset import parse_keyset
from repack.timestamps import read_time
from repack.trust.dates import check_signing_date
from repack.trust.metadata import (
    DELEGATED,
    LABEL,
    MAX_BYTES,
    SIGNED_AT,
    parse_metadata,
    recalls_in,
    releases_in,
)
from repack.trust.recalls import check_reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuf.api.metadata import Metadata

    from repack.keys.keyring import Keyring
    from repack.keys.keyset import KeySet
    from repack.trust.editor import MetadataEditor
    from repack.trust.selection import SignedFor

_FORMAT: Final = "repack-ceremony-1"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,9}")
# Snapshot and timestamp are signed by every build; their keys are online (TUF 2.1.3, 2.1.4)
CeremonyRole = Literal["root", "production", "ci", "targets"]


class _CeremonyFile(Document, frozen=True):
    """The file; ``before`` and ``manifests`` are shown to signers and not signed."""

    format: Literal["repack-ceremony-1"]
    label: str
    signers: dict[CeremonyRole, tuple[str, ...]]
    metadata: dict[CeremonyRole, dict[str, Any]]
    keyset: dict[str, Any] | None = None
    before: dict[CeremonyRole, dict[str, Any]] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)


class Ceremony(Struct, frozen=True):
    """New metadata that lacks signatures.

    Attributes:
        opened: role -> its new metadata, with the signatures made so far.
        signers: role -> key ids that may sign it.
        keyset: the key set that this brings into force, if it brings one.
        before: role -> the metadata that is published now, of those that sign releases.
        manifests: number -> the manifest of a release, so that signers see what is in it.
    """

    label: str
    opened: Mapping[str, Metadata[Any]]
    signers: Mapping[str, tuple[str, ...]]
    keyset: KeySet | None = None
    before: Mapping[str, Metadata[Any]] = field(default_factory=dict)
    manifests: Mapping[int, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The file that travels."""
        document = {
            "format": _FORMAT,
            "label": self.label,
            "signers": self.signers,
            "metadata": {role: metadata.to_dict() for role, metadata in self.opened.items()},
            "keyset": None if self.keyset is None else json.loads(self.keyset.to_bytes()),
            "before": {role: metadata.to_dict() for role, metadata in self.before.items()},
            "manifests": {str(n): data.decode() for n, data in self.manifests.items()},
        }
        return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def parse(data: bytes, where: object) -> Ceremony:
    """Read a ceremony's file; signatures are not looked at.

    Raises:
        KeyRefusedError: it is none, or malformed.
        MetadataInvalidError: the metadata in it is malformed.
        IntegrityError: not strict JSON.
    """
    document = loads(data, where, 4 * MAX_BYTES)
    file = decode(_CeremonyFile, document, where, "ceremony's file", KeyRefusedError)
    if unsigned := file.metadata.keys() - file.signers.keys():
        raise KeyRefusedError(
            "the ceremony's file names no signers", where=where, got=", ".join(sorted(unsigned))
        )
    opened = _parse_roles(file.metadata, where)
    for role, metadata in opened.items():
        # The file says which label it is for; what is signed must say so, too
        _check_label(file.label, role, metadata, where)
    signers: dict[str, tuple[str, ...]] = {
        role: keyids for role, keyids in file.signers.items() if role in opened
    }
    keyset = None if file.keyset is None else parse_keyset(canonical(file.keyset), where)
    manifests = {
        int(number): text.encode("utf-8", "surrogatepass")
        for number, text in file.manifests.items()
        if _NUMBER.fullmatch(number)
    }
    before = _parse_roles(file.before, where)
    return Ceremony(file.label, opened, signers, keyset, before, manifests)


def _parse_roles(
    documents: Mapping[CeremonyRole, dict[str, Any]], where: object
) -> dict[str, Metadata[Any]]:
    return {
        role: parse_metadata(canonical(document), role, f"{where}, {role}")
        for role, document in documents.items()
    }


def _check_label(label: str, role: str, metadata: Metadata[Any], where: object) -> None:
    """Check that what is signed is of ``label``, as are the releases in it.

    Raises:
        MixAndMatchError: it is another label's.
    """
    labels = {metadata.signed.unrecognized_fields.get(LABEL)}
    if role in DELEGATED:
        labels |= {release.label for release in releases_in(metadata.signed, role)}
    if labels != {label}:
        raise MixAndMatchError(
            "what is to be signed is another label's",
            where=f"{where}, {role}",
            expected=label,
            got=", ".join(sorted(map(str, labels - {label}))),
        )


def promote(editor: MetadataEditor, number: int, tags: Sequence[str]) -> None:
    """Let ``production`` sign for release ``number``, which ``ci`` has signed, under ``tags``.

    Raises:
        NoSuchReleaseError: ``ci`` has not signed it.
        MixAndMatchError: ``production`` has signed other content under that number.
    """
    base = editor.base
    by_number = {release.number: release for release in base.releases("ci")} if base.roots else {}
    if number not in by_number:
        numbers = ", ".join(map(str, sorted(by_number))) or "none"
        raise NoSuchReleaseError(f"release {number} was never signed", expected=numbers)
    built = by_number[number]
    release = replace(built, tags=tuple(tags), type="production")
    editor.add(release, base.roles["ci"].signed.targets[built.path].hashes)


def recall(editor: MetadataEditor, numbers: Sequence[int], why: str) -> None:
    """Let ``targets`` recall releases that were signed, for good.

    Raises:
        UsageError: one was never signed; or ``why`` is no reason.
    """
    base, reason = editor.base, check_reason(why)
    signed = {release.number for release in base.releases("ci")} if base.roots else set()
    if unknown := sorted(set(numbers) - signed):
        raise UsageError(
            f"release {', '.join(map(str, unknown))} of label {base.label} was never signed",
            where="--release",
            expected=", ".join(map(str, sorted(signed))) or "none: nothing was signed yet",
            hint=f"see its releases: repack history {base.label}",
        )
    editor.recall(dict.fromkeys(numbers, reason))


def prepare(
    editor: MetadataEditor,
    keys: Keyring,
    manifests: Mapping[int, bytes],
    keyset: KeySet | None = None,
) -> Ceremony:
    """What has to be signed elsewhere; keys that can be used here have signed already."""
    editor.sign(keys.signer)
    signers = {
        role: tuple(
            dict.fromkeys(
                keyid
                for delegator in editor.delegators(role)
                for keyid in delegator.get_delegated_role(role).keyids
            )
        )
        for role in editor.opened
    }
    before: dict[str, Metadata[Any]] = {
        role: editor.base.roles[role]
        for role in (*DELEGATED, "targets")
        if role in editor.base.roles and role in editor.opened
    }
    return Ceremony(editor.base.label, editor.opened, signers, keyset, before, manifests)


def check_dates(ceremony: Ceremony, consent: str | None) -> None:
    """Check the dates that are signed against this machine's clock.

    Raises:
        SigningDateError: one is more than a day from it, and ``consent`` does not say so.
    """
    for metadata in ceremony.opened.values():
        date = read_time(metadata.signed.unrecognized_fields.get(SIGNED_AT))
        if date is None:
            raise KeyRefusedError("the metadata does not say when it was prepared")
        check_signing_date(date, None, consent)


def sign(ceremony: Ceremony, keys: Keyring) -> list[str]:
    """Sign with every key that is here and was made for the role; say which keys were used.

    Raises:
        KeyRefusedError: no key that is here may sign anything in it.
    """
    used = []
    for role, metadata in ceremony.opened.items():
        for keyid in ceremony.signers[role]:
            key = keys.keyset.keys.get(keyid)
            # The file is not trusted to say who may sign: the key and its role are looked up in
            # the signer's own key set
            if key is None or key.role != role or keyid in metadata.signatures:
                continue
            if signer := keys.signer(keyid):
                metadata.sign(signer, append=True)
                used.append(f"{role} with {keyid}")
    if not used:
        keyids = [keyid for keyids in ceremony.signers.values() for keyid in keyids]
        raise KeyRefusedError(
            "no key here can add a signature",
            where=keys.folder,
            expected=f"one of {', '.join(keyids)}",
        )
    return used


def resume(ceremony: Ceremony, editor: MetadataEditor) -> None:
    """Take over the change that comes back from a ceremony, to be published on the editor's base.

    Raises:
        MixAndMatchError: it is another label's, or something else was published meanwhile.
    """
    base = editor.base
    if ceremony.label != base.label:
        raise MixAndMatchError(
            "the ceremony was another label's", expected=base.label, got=ceremony.label
        )
    for role, metadata in ceremony.opened.items():
        old = base.newest(role)
        expected = 1 if old is None else old.signed.version + 1
        if metadata.signed.version != expected:
            raise MixAndMatchError(
                "something else was published since the ceremony was prepared",
                where=f"{role} of label {base.label}",
                expected=f"version {expected}",
                got=metadata.signed.version,
                hint="prepare a new one",
            )
        editor.opened[role] = metadata
    for role in DELEGATED:
        _check_continues(role, editor)
    if "targets" in editor.opened and base.roles:
        recalled = recalls_in(editor.opened["targets"].signed)
        if gone := sorted(base.recalled.keys() - recalled.keys()):
            raise MixAndMatchError(
                f"the recall of release {', '.join(map(str, gone))} has gone",
                where=f"targets of label {base.label}",
                hint="prepare a new one",
            )


def _check_continues(role: SignedFor, editor: MetadataEditor) -> None:
    """Check that a role's releases are those published, and for production what ``ci`` signed.

    Raises:
        MixAndMatchError: a release was changed, has gone, or was never built here.
    """
    if role not in editor.opened:
        return
    base, opened = editor.base, releases_in(editor.opened[role].signed, role)
    published = {release.number: release for release in base.releases(role)} if base.roles else {}
    built = {release.number: release for release in base.releases("ci")} if base.roles else {}
    for release in opened:
        # Builds sign for ci; a ceremony does not add to them
        source = built.get(release.number)
        same = source is not None and (source.sha256, source.length, source.platforms) == (
            release.sha256,
            release.length,
            release.platforms,
        )
        if not same:
            raise MixAndMatchError(
                f"release {release.number} is not the one that was built and published here",
                where=f"{role} of label {base.label}",
                expected=source.sha256 if source else "no such release",
                got=release.sha256,
            )
    tags = {release.number: {*release.tags} for release in opened}
    for number, release in published.items():
        if number not in tags or not tags[number].issuperset(release.tags):
            raise MixAndMatchError(
                f"release {number}, or a tag of it, has gone",
                where=f"{role} of label {base.label}",
                hint="prepare a new one",
            )


def check_keyset(editor: MetadataEditor, keys: KeySet) -> None:
    """Check that ``keys`` is what the signed metadata, which nothing was changed of yet, says.

    Raises:
        KeyRefusedError: it is not; somebody changed the ceremony's file.
    """
    editor.apply_keyset(keys)
    if editor.opened:
        raise KeyRefusedError(
            "the key set differs from the one that was signed for",
            got=", ".join(sorted(editor.opened)),
        )
