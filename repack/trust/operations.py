"""The lines of trust: promote a release, rotate keys, make key sets, take ceremonies in.

Each change takes the label's lock, verifies what is published before it builds on it, and ends in
one exchange of the metadata folder. No release is made: what is signed is the release that stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from repack.channel.layout import METADATA_DIR
from repack.channel.metadata_folder import newest, write_folder
from repack.errors import KeyRefusedError
from repack.fs import atomic
from repack.keys.keyring import Keyring
from repack.trust import ceremony
from repack.trust.sign import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from repack.channel.folder import Channels
    from repack.keys.keyset import Algorithm, KeySet, PublicKey, Role
    from repack.names import LabelName
    from repack.trust.editor import MetadataEditor
    from repack.trust.metadata import MetadataSet

MAX_CEREMONY = 20_000_000


class TrustContext(Struct, frozen=True):
    """Where a label's trust is kept: its channel, its keys, and the clock."""

    channels: Channels
    label: LabelName
    keys: Keyring
    now: datetime

    def base(self) -> MetadataSet:
        """The published metadata, verified. Raises as :func:`repack.trust.sign.load` does."""
        return load(self.label, newest(self.channels, self.label))

    def publish(self, amendment: MetadataEditor) -> MetadataSet:
        """Sign, and put the new set in the place of the old.

        Raises:
            KeyRefusedError: a key that is needed is not here.
        """
        return self.put(amendment.publish(self.keys.signer))

    def put(self, new: MetadataSet) -> MetadataSet:
        """Exchange the published metadata, and that which is remembered of the release."""
        released = self.channels.releases(self.label)
        kept = self.channels.history(self.label) / str(max(released, default=0)) / METADATA_DIR
        if kept.is_dir():
            write_folder(kept, new.files())
        write_folder(self.channels.published(self.label) / METADATA_DIR, new.files())
        return new


class KeyChange(Struct, frozen=True):
    """How the keys of one role change.

    Attributes:
        key: the new key; None when only the threshold changes.
        retired: the key id it replaces; None for all keys of the role.
        threshold: how many must sign from now on.
    """

    role: Role
    key: PublicKey | None = None
    retired: str | None = None
    threshold: int | None = None

    def to(self, keys: KeySet) -> KeySet:
        """``keys`` after the change. Raises as the methods of :class:`KeySet` do."""
        if self.key is not None:
            keys = keys.with_replaced_key(self.key, self.retired)
        return keys if self.threshold is None else keys.with_threshold(self.role, self.threshold)


class New(Struct, frozen=True):
    """What a new key is to be: made here, or the public half of one made elsewhere."""

    role: Role
    algorithm: Algorithm = "ed25519"
    public: bytes | None = None
    uri: str | None = None

    def make(self, keys: Keyring) -> PublicKey:
        """Make the key, or take it over.

        Raises:
            KeyRefusedError: what was given is no public key.
        """
        if self.public is not None:
            from repack.keys import private_key

            return private_key.adopt(self.role, self.public, self.uri)
        return keys.generate(self.role, self.algorithm)


def promote(office: TrustContext, release: int, tags: Sequence[str]) -> MetadataSet:
    """Sign ``release`` for production targets of ``tags``, with keys that can be used here.

    Raises:
        NoSuchReleaseError: it was never signed.
        KeyRefusedError: a key that is needed is not here.
    """
    with office.channels.exclusive(office.label):
        return office.publish(ceremony.promotion(office.base(), release, tags, office.now))


def prepare_promotion(
    office: TrustContext, release: int, tags: Sequence[str], file: Path
) -> list[str]:
    """Write what has to be signed for a promotion; say what it is. Raises as :func:`promote`."""
    amendment = ceremony.promotion(office.base(), release, tags, office.now)
    made = ceremony.prepare(amendment, office.keys)
    atomic.write(file, made.to_bytes())
    return list(made.lines())


def sign(
    keys: Keyring, file: Path, agree: Callable[[list[str]], None] = lambda _: None
) -> tuple[list[str], list[str]]:
    """Add signatures to a ceremony's file; say what it is, and which keys were used.

    Args:
        keys: the keys that are here.
        file: the file; signatures are added to it.
        agree: is shown what is going to be signed, and raises to stop it.

    Raises:
        KeyRefusedError: no key here may sign anything in it, or it is no ceremony's file.
    """
    given = ceremony.parse(atomic.read(file, MAX_CEREMONY), file)
    what = list(given.lines())
    agree(what)
    used = ceremony.sign(given, keys)
    atomic.write(file, given.to_bytes())
    return what, used


def finish(office: TrustContext, file: Path) -> MetadataSet:
    """Publish what comes back from a ceremony.

    Raises:
        MixAndMatchError: something else was published meanwhile.
        KeyRefusedError: signatures are missing.
    """
    with office.channels.exclusive(office.label):
        given = ceremony.parse(atomic.read(file, MAX_CEREMONY), file)
        amendment = ceremony.resume(given, office.base(), office.now)
        keys, new = office.keys, given.keyset
        if new is not None:
            keys.keyset = new
        result = amendment.publish(keys.signer)
        if new is not None:
            ceremony.check_keyset(result, new, office.now)
            keys.save()
        return office.put(result)


def rotate(office: TrustContext, change: KeyChange | None) -> MetadataSet:
    """Bring a changed key set into force, with keys that can be used here.

    Without a change the key set as it is comes into force: after keys were added to it.

    Raises:
        KeyRefusedError: a key that is needed is not here; nothing was changed.
    """
    with office.channels.exclusive(office.label):
        keys = office.keys
        if change is not None:
            keys.keyset = change.to(keys.keyset)
        result = ceremony.rotation(office.base(), keys.keyset, office.now).publish(keys.signer)
        # First the wish, then the deed: cut off between the two, the next signing does it again.
        keys.save()
        return office.put(result)


def prepare_rotation(office: TrustContext, change: KeyChange | None, file: Path) -> list[str]:
    """Write what has to be signed for a changed key set; it comes into force with ``finish``."""
    keys = office.keys
    if change is not None:
        keys.keyset = change.to(keys.keyset)
    amendment = ceremony.rotation(office.base(), keys.keyset, office.now)
    if not amendment.opened:
        raise KeyRefusedError("nothing would change: the metadata agrees with the key set")
    made = ceremony.prepare(amendment, keys, keys.keyset)
    atomic.write(file, made.to_bytes())
    return list(made.lines())


def add_key(
    folder: Path, new: New, environment: Mapping[str, str], threshold: int | None
) -> Keyring:
    """Add a key to the key set in ``folder``; a set that is not there is begun.

    It comes into force with the label's first signing, or with :func:`rotate`.

    Raises:
        KeyRefusedError: what was given is no public key, or the threshold cannot be met.
    """
    keys = Keyring.open_or_begin(folder, environment)
    keys.keyset = keys.keyset.with_key(new.make(keys))
    if threshold is not None:
        keys.keyset = keys.keyset.with_threshold(new.role, threshold)
    keys.save()
    return keys
