"""Sign a release: the HMAC in its manifest, and the TUF metadata around it.

Works without any key: then the manifest is unsigned and there is no metadata. Nothing is written
here; the caller puts the files into the staged channel. python-tuf and cryptography are imported
only when there is a key to sign with, as they take a tenth of a second.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct, field

from repack.channel.integrity import to_bytes
from repack.channel.layout import INTEGRITY_PATH, MANIFEST_PATH, METADATA_DIR
from repack.channel.manifest import IntegrityRef, build
from repack.keys.keyset import EXPIRY_DAYS
from repack.names import Digest, RelPath
from repack.timestamps import read_time
from repack.trust.recalls import describe_recalls
from repack.trust.selection import SignedRelease, warnings
from repack.trust.summary import summarize_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from repack.channel.manifest import Artifact, Release
    from repack.file_entry import FileEntry
    from repack.keys.keyring import Keyring
    from repack.keys.shared_key import SharedKey
    from repack.trust.metadata import MetadataSet

HASHES = ("sha256", "sha384")


class Contents(Struct, frozen=True):
    """The files of a channel, and which of them are artifacts."""

    files: Sequence[FileEntry]
    artifacts: Sequence[Artifact]


class Signing(Struct, frozen=True):
    """The keys a label signs with; without any it is unsigned.

    Attributes:
        hmac: the shared key of the manifest.
        keys: the keys of the metadata.
        expiry: days per role, where they are not the default.
        date_consent: confirms a date that would be refused, see :mod:`repack.trust.dates`.
    """

    hmac: SharedKey | None = None
    keys: Keyring | None = None
    expiry: Mapping[str, int] = field(default_factory=dict)
    date_consent: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The keys that count when releases are compared; rotated metadata keys do not."""
        names = []
        if self.hmac is not None:
            names.append(f"hmac {self.hmac.key_id} {self.hmac.fingerprint}")
        if self.keys is not None:
            names.append("development keys" if self.keys.keyset.development else "keys")
        return tuple(names)

    @property
    def secrets(self) -> frozenset[str]:
        """What must not appear in a channel: the shared key in hexadecimal and base64."""
        if self.hmac is None:
            return frozenset()
        secret = self.hmac.secret
        return frozenset({secret.hex(), base64.b64encode(secret).decode("ascii")})


UNSIGNED = Signing()


def sign(
    release: Release,
    contents: Contents,
    signing: Signing,
    previous: Mapping[str, bytes] | None,
    now: datetime,
) -> dict[RelPath, bytes]:
    """Make integrity list, manifest and metadata of a release, by path in the channel.

    Args:
        release: number, label and platforms.
        contents: all files of the channel except those made here.
        signing: the keys, if any.
        previous: the metadata that was last published, by file name; None or empty if there is
            none.
        now: the time.

    Raises:
        KeyRefusedError: a key that is needed cannot be used.
        SigningDateError: ``now`` is before the last signing, or far from the machine's clock.
        IntegrityError: two files of one name.
        TargetError: the previous metadata is not sound, or the number was signed otherwise.
    """
    listing = to_bytes(contents.files)
    pin = IntegrityRef(INTEGRITY_PATH, Digest(hashlib.sha256(listing).hexdigest()))
    manifest = build(release.head(), tuple(contents.artifacts), pin)
    if signing.hmac is not None:
        manifest = manifest.signed(signing.hmac)
    data = manifest.to_bytes()
    files = {INTEGRITY_PATH: listing, MANIFEST_PATH: data}
    if signing.keys is not None:
        target = _signed_release(release, data)
        # The same bytes at the target path, where a plain TUF client looks for them
        files[RelPath(f"repack/{target.path}")] = data
        for name, content in _sign_metadata(target, data, signing, previous, now).items():
            files[RelPath(f"{METADATA_DIR}/{name}")] = content
    return files


def outlook(
    metadata: Mapping[str, bytes] | None, now: datetime, release: int | None = None
) -> tuple[str, ...]:
    """Warnings about one's own metadata: expiry within thirty days, development keys, a recall.

    Nothing is verified here: the release was just signed, or its receivers verify it.

    Args:
        metadata: the files by name, if there are any.
        now: the time.
        release: the one that is published.
    """
    summary = summarize_metadata(metadata or {})
    expiries = {
        role: expires
        for role, text in summary.expiries.items()
        if role != "root" and (expires := read_time(text)) is not None
    }
    development = ("the release is signed with development keys",) if summary.development else ()
    recalled = describe_recalls(summary.recalled, [n for n in summary.recalled if n == release])
    return (*filter(None, [recalled]), *development, *warnings(expiries, now))


def load(label: str, previous: Mapping[str, bytes] | None) -> MetadataSet:
    """The published metadata, verified; an empty set where there is none.

    Raises:
        TargetError: it is not sound.
    """
    from repack.trust.metadata import MetadataSet

    return MetadataSet.load(previous, label, METADATA_DIR) if previous else MetadataSet(label)


def _sign_metadata(
    release: SignedRelease,
    manifest: bytes,
    signing: Signing,
    previous: Mapping[str, bytes] | None,
    now: datetime,
) -> dict[str, bytes]:
    from repack.trust.editor import MetadataEditor

    assert signing.keys is not None  # noqa: S101 - the caller looked
    expiry = {**EXPIRY_DAYS, **signing.expiry}
    base = load(release.label, previous)
    editor = MetadataEditor(base, now, expiry, signing.date_consent)
    editor.apply_keyset(signing.keys.keyset)
    editor.add(release, {name: hashlib.new(name, manifest).hexdigest() for name in HASHES})
    return editor.publish(signing.keys.signer).files()


def _signed_release(release: Release, manifest: bytes) -> SignedRelease:
    return SignedRelease(
        number=release.number,
        label=release.label,
        platforms=release.subdirs,
        tags=(),
        type="ci",
        length=len(manifest),
        sha256=Digest(hashlib.sha256(manifest).hexdigest()),
    )
