"""Sign a release: the HMAC in its manifest, and the TUF metadata around it.

Works without any key: then the manifest is unsigned and there is no metadata. Nothing is written
here; what comes back is laid into the staged channel. Importing this module costs nothing:
python-tuf and cryptography come in when there is something to sign with.
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
    """What a release consists of: every file of the channel, and its artifacts."""

    files: Sequence[FileEntry]
    artifacts: Sequence[Artifact]


class Signing(Struct, frozen=True):
    """What a label signs with; with neither key nor keys it is unsigned.

    Attributes:
        hmac: the shared key of the manifest.
        keys: the keys of the metadata.
        expiry: days per role, where they are not the default.
    """

    hmac: SharedKey | None = None
    keys: Keyring | None = None
    expiry: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Which keys make a release what it is; rotated metadata keys do not make another."""
        found = []
        if self.hmac is not None:
            found.append(f"hmac {self.hmac.key_id} {self.hmac.fingerprint}")
        if self.keys is not None:
            found.append("development keys" if self.keys.keyset.development else "keys")
        return tuple(found)

    @property
    def secrets(self) -> frozenset[str]:
        """What must not stand in a channel: the shared key as people write it."""
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
    """Make everything under ``repack/`` that vouches for the rest, by path in the channel.

    Args:
        release: number, label and platforms.
        contents: all files of the channel except those made here.
        signing: the keys, if any.
        previous: the metadata that was last published, by file name; None or empty if there is
            none.
        now: the time.

    Raises:
        KeyRefusedError: a key that is needed cannot be used.
        IntegrityError: two files of one name.
        TargetError: the previous metadata is not sound, or the number was signed otherwise.
    """
    listing = to_bytes(contents.files)
    pin = IntegrityRef(INTEGRITY_PATH, Digest(hashlib.sha256(listing).hexdigest()))
    manifest = build(release.head(), tuple(contents.artifacts), pin)
    if signing.hmac is not None:
        manifest = manifest.signed(signing.hmac)
    described = manifest.to_bytes()
    made = {INTEGRITY_PATH: listing, MANIFEST_PATH: described}
    if signing.keys is not None:
        signed = _signed(release, described)
        # the same bytes where a plain TUF client looks for the target
        made[RelPath(f"repack/{signed.path}")] = described
        for name, content in _metadata(signed, described, signing, previous, now).items():
            made[RelPath(f"{METADATA_DIR}/{name}")] = content
    return made


def outlook(metadata: Mapping[str, bytes] | None, now: datetime) -> tuple[str, ...]:
    """What to warn about in one's own metadata, by file name: expiry, and keys for development.

    Nothing is verified: that is for those who receive it.
    """
    summary = summarize_metadata(metadata or {})
    expiries = {
        role: expires
        for role, text in summary.expiries.items()
        if role != "root" and (expires := read_time(text)) is not None
    }
    development = ("the release is signed with development keys",) if summary.development else ()
    return (*development, *warnings(expiries, now))


def load(label: str, previous: Mapping[str, bytes] | None) -> MetadataSet:
    """The metadata to go on from, verified; an empty set where there was none.

    Raises:
        TargetError: it is not sound.
    """
    from repack.trust.metadata import MetadataSet

    return MetadataSet.load(previous, label, METADATA_DIR) if previous else MetadataSet(label)


def _metadata(
    release: SignedRelease,
    manifest: bytes,
    signing: Signing,
    previous: Mapping[str, bytes] | None,
    now: datetime,
) -> dict[str, bytes]:
    from repack.trust.editor import MetadataEditor

    assert signing.keys is not None  # noqa: S101 - the caller looked
    expiry = {**EXPIRY_DAYS, **signing.expiry}
    amendment = MetadataEditor(load(release.label, previous), now, expiry)
    amendment.agree(signing.keys.keyset)
    amendment.add(release, {name: hashlib.new(name, manifest).hexdigest() for name in HASHES})
    return amendment.publish(signing.keys.signer).files()


def _signed(release: Release, manifest: bytes) -> SignedRelease:
    return SignedRelease(
        number=release.number,
        label=release.label,
        platforms=release.subdirs,
        tags=(),
        type="ci",
        length=len(manifest),
        sha256=Digest(hashlib.sha256(manifest).hexdigest()),
    )
