"""Promote or recall a release, rotate keys, add keys to a key set, carry out ceremonies.

Each change takes the label's lock, verifies the published metadata before it builds on it, and ends
in one exchange of the metadata folder. No release is built: the published one is signed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.channel.layout import MANIFEST_PATH, METADATA_DIR
from repack.channel.metadata_folder import newest, write_folder
from repack.errors import KeyRefusedError
from repack.fs import atomic
from repack.fs.walk import read_or_none
from repack.keys.keyring import Keyring
from repack.keys.keyset import ROLES
from repack.trust import ceremony
from repack.trust.disclosure import compare_with_ring, describe
from repack.trust.editor import MetadataEditor
from repack.trust.metadata import DELEGATED, releases_in
from repack.trust.sign import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from repack.channel.folder import Channels
    from repack.keys.keyset import Algorithm, KeySet, PublicKey, RoleName
    from repack.names import LabelName
    from repack.trust.ceremony import Ceremony
    from repack.trust.metadata import MetadataSet

MAX_CEREMONY = 20_000_000


class TrustContext(Struct, frozen=True):
    """Where a label's trust is kept: its channel, its keys, and the clock.

    Attributes:
        date_consent: confirms a date that would be refused, see :mod:`repack.trust.dates`.
    """

    channels: Channels
    label: LabelName
    keys: Keyring
    now: datetime
    date_consent: str | None = None

    def editor(self, metadata: MetadataSet | None = None) -> MetadataEditor:
        """An editor of ``metadata``, or of what is published.

        Raises:
            SigningDateError: ``now`` is before the last signing, or far from the machine's clock.
        """
        base = self.published() if metadata is None else metadata
        return MetadataEditor(base, self.now, consent=self.date_consent)

    def published(self) -> MetadataSet:
        """The published metadata, verified. Raises as :func:`repack.trust.sign.load` does."""
        return load(self.label, newest(self.channels, self.label))

    def publish(self, metadata: MetadataSet) -> MetadataSet:
        """Replace the published metadata, and the copy in the release's history."""
        release = max(self.channels.releases(self.label), default=0)
        kept = self.channels.history(self.label) / str(release) / METADATA_DIR
        if kept.is_dir():
            write_folder(kept, metadata.files())
        write_folder(self.channels.published(self.label) / METADATA_DIR, metadata.files())
        return metadata


class KeyChange(Struct, frozen=True):
    """How the keys of one role change.

    Attributes:
        key: the new key; None when only the threshold changes.
        retired: the key id it replaces; None for all keys of the role.
        threshold: how many must sign from now on.
        resets_clock: whether targets are to forget the time that they remember.
    """

    role: RoleName | None = None
    key: PublicKey | None = None
    retired: str | None = None
    threshold: int | None = None
    resets_clock: bool = False

    def apply(self, keys: KeySet) -> KeySet:
        """``keys`` after the change. Raises as the methods of :class:`KeySet` do."""
        if self.key is not None:
            keys = keys.with_replaced_key(self.key, self.retired)
        if self.role is None or self.threshold is None:
            return keys
        return keys.with_threshold(self.role, self.threshold)


class NewKey(Struct, frozen=True):
    """A key to be generated here, or the public half of one generated elsewhere, as PEM."""

    role: RoleName
    algorithm: Algorithm = "ed25519"
    public: bytes | None = None
    uri: str | None = None

    def make(self, keys: Keyring) -> PublicKey:
        """Generate the key, or read its public half.

        Raises:
            KeyRefusedError: ``public`` is no public key.
        """
        if self.public is not None:
            from repack.keys import private_key

            return private_key.adopt(self.role, self.public, self.uri)
        return keys.generate(self.role, self.algorithm)


def promote(context: TrustContext, release: int, tags: Sequence[str]) -> MetadataSet:
    """Sign ``release`` for production targets of ``tags``, with keys that can be used here.

    Raises:
        NoSuchReleaseError: it was never signed.
        KeyRefusedError: a key that is needed is not here.
    """
    with context.channels.exclusive(context.label):
        editor = context.editor()
        ceremony.promote(editor, release, tags)
        return context.publish(editor.publish(context.keys.signer))


def recall(context: TrustContext, releases: Sequence[int], why: str) -> MetadataSet:
    """Recall ``releases`` for good, with keys that can be used here.

    Raises:
        UsageError: one was never signed, or ``why`` is no reason.
        KeyRefusedError: a key that is needed is not here.
    """
    with context.channels.exclusive(context.label):
        editor = context.editor()
        ceremony.recall(editor, releases, why)
        return context.publish(editor.publish(context.keys.signer))


def prepare_recall(
    context: TrustContext, releases: Sequence[int], why: str, file: Path
) -> list[str]:
    """Write what has to be signed for a recall; say what it is. Raises as :func:`recall`."""
    editor = context.editor()
    ceremony.recall(editor, releases, why)
    return _write(ceremony.prepare(editor, context.keys, {}), file)


def prepare_promotion(
    context: TrustContext, release: int, tags: Sequence[str], file: Path
) -> list[str]:
    """Write what has to be signed for a promotion; say what it is. Raises as :func:`promote`."""
    editor = context.editor()
    ceremony.promote(editor, release, tags)
    manifests = _manifests(context, editor)
    return _write(ceremony.prepare(editor, context.keys, manifests), file)


def sign(
    keys: Keyring,
    file: Path,
    confirm: Callable[[list[str]], None] = lambda _: None,
    date_consent: str | None = None,
) -> tuple[list[str], list[str]]:
    """Add signatures to a ceremony's file; say what it is, and which keys were used.

    Args:
        keys: the keys that are here.
        file: the file; signatures are added to it.
        confirm: is shown what is going to be signed, and raises to stop it.
        date_consent: confirms a date that is more than a day from this machine's clock.

    Raises:
        KeyRefusedError: no key here may sign anything in it, or it is no ceremony's file.
    """
    prepared = ceremony.parse(atomic.read(file, MAX_CEREMONY), file)
    ceremony.check_dates(prepared, date_consent)
    statements = [*describe(prepared), *compare_with_ring(prepared, keys.keyset)]
    confirm(statements)
    used = ceremony.sign(prepared, keys)
    atomic.write(file, prepared.to_bytes())
    return statements, used


def finish(context: TrustContext, file: Path) -> MetadataSet:
    """Publish what comes back from a ceremony.

    Raises:
        MixAndMatchError: something else was published meanwhile.
        KeyRefusedError: signatures are missing.
    """
    with context.channels.exclusive(context.label):
        signed = ceremony.parse(atomic.read(file, MAX_CEREMONY), file)
        editor = context.editor()
        ceremony.resume(signed, editor)
        if signed.keyset is not None:
            context.keys.keyset = signed.keyset
        metadata = editor.publish(context.keys.signer)
        if signed.keyset is not None:
            ceremony.check_keyset(context.editor(metadata), signed.keyset)
            context.keys.save()
        return context.publish(metadata)


def rotate(context: TrustContext, change: KeyChange | None) -> MetadataSet:
    """Bring a changed key set into force, with keys that can be used here.

    Without a change the key set as it is comes into force: after keys were added to it.

    Raises:
        KeyRefusedError: a key that is needed is not here; nothing was changed.
    """
    with context.channels.exclusive(context.label):
        metadata = _open_rotation(context, change).publish(context.keys.signer)
        # The key set is saved before the metadata is published: if the process is killed between
        # the two, the next signing applies the saved key set
        context.keys.save()
        return context.publish(metadata)


def prepare_rotation(context: TrustContext, change: KeyChange | None, file: Path) -> list[str]:
    """Write what has to be signed for a changed key set; it comes into force with ``finish``.

    Raises:
        KeyRefusedError: a role has too few keys, or nothing would change.
    """
    editor = _open_rotation(context, change)
    if not editor.opened:
        raise KeyRefusedError("nothing would change: the metadata agrees with the key set")
    manifests = _manifests(context, editor)
    return _write(ceremony.prepare(editor, context.keys, manifests, context.keys.keyset), file)


def _open_rotation(context: TrustContext, change: KeyChange | None) -> MetadataEditor:
    if change is not None:
        context.keys.keyset = change.apply(context.keys.keyset)
    editor = context.editor()
    editor.apply_keyset(context.keys.keyset)
    if change is not None and change.resets_clock:
        editor.reset_clock()
    return editor


def _write(prepared: Ceremony, file: Path) -> list[str]:
    atomic.write(file, prepared.to_bytes())
    return list(describe(prepared))


def _manifests(context: TrustContext, editor: MetadataEditor) -> dict[int, bytes]:
    """The manifests of the releases that are signed for again, where they are kept.

    The newest come first, and no more than fit into a ceremony's file.
    """
    releases = {
        release.number: release
        for role in DELEGATED
        if role in editor.opened
        for release in releases_in(editor.opened[role].signed, role)
    }
    manifests: dict[int, bytes] = {}
    published, left = context.channels.published(context.label), MAX_CEREMONY // 2
    for number, release in sorted(releases.items(), reverse=True):
        kept = context.channels.history(context.label) / str(number) / MANIFEST_PATH
        for path in (published / f"repack/{release.path}", kept):
            data = read_or_none(path)
            if data is not None and hashlib.sha256(data).hexdigest() == release.sha256:
                if len(data) <= left:
                    manifests[number] = data
                    left -= len(data)
                break
    return manifests


def add_missing_keys(folder: Path, algorithm: Algorithm, environment: Mapping[str, str]) -> Keyring:
    """Make a key in ``folder`` for every role that has none; raises as :func:`add_key` does."""
    keys = Keyring.open_or_begin(folder, environment)
    for role in ROLES:
        if role not in keys.keyset.roles:
            keys.keyset = keys.keyset.with_key(keys.generate(role, algorithm))
    keys.save()
    return keys


def add_key(
    folder: Path, new: NewKey, environment: Mapping[str, str], threshold: int | None
) -> Keyring:
    """Add a key to the key set in ``folder``, which is created if there is none.

    It comes into force with the label's first signing, or with :func:`rotate`.

    Raises:
        KeyRefusedError: ``new.public`` is no public key, or the threshold cannot be met.
    """
    keys = Keyring.open_or_begin(folder, environment)
    keys.keyset = keys.keyset.with_key(new.make(keys))
    if threshold is not None:
        keys.keyset = keys.keyset.with_threshold(new.role, threshold)
    keys.save()
    return keys
