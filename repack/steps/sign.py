"""Sign a release: list its files, describe them, sign the description.

Works without any key: then the manifest is unsigned and there is no metadata. Nothing is written
here; what comes back is laid into the staged channel. Importing this module costs nothing:
python-tuf and cryptography come in when there is something to sign with.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repack.model.integrity import INTEGRITY_PATH, MANIFEST_PATH, METADATA_DIR, to_bytes
from repack.model.manifest import IntegrityRef, build
from repack.model.names import Digest, RelPath
from repack.model.trust import SignedRelease

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from repack.model.integrity import Entry
    from repack.model.keys import Key
    from repack.model.manifest import Artifact
    from repack.model.metadata import MetadataSet
    from repack.model.release import Release
    from repack.places.keyring import Keyring

HASHES = ("sha256", "sha384")


@dataclass(frozen=True, slots=True)
class Contents:
    """What a release consists of: every file of the channel, and its artifacts."""

    files: Sequence[Entry]
    artifacts: Sequence[Artifact]


@dataclass(frozen=True, slots=True)
class Signing:
    """What a label signs with; with neither, it is unsigned."""

    hmac: Key | None = None
    keys: Keyring | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What tells these keys from others, without giving any away."""
        hmac = (f"hmac:{self.hmac.key_id}",) if self.hmac else ()
        return (*hmac, *(sorted(self.keys.keyset.keys) if self.keys else ()))


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
        previous: the metadata that was last published, by file name; None for the first release.
        now: the time.

    Raises:
        KeyRefusedError: a key that is needed cannot be used.
        IntegrityError: two files of one name.
        TargetError: the previous metadata is not sound, or the release was signed otherwise.
    """
    listing = to_bytes(contents.files)
    pin = IntegrityRef(INTEGRITY_PATH, Digest(hashlib.sha256(listing).hexdigest()))
    manifest = build(release.head(), tuple(contents.artifacts), pin)
    if signing.hmac is not None:
        manifest = manifest.signed(signing.hmac)
    data = manifest.to_bytes()
    made = {INTEGRITY_PATH: listing, MANIFEST_PATH: data}
    if signing.keys is not None:
        # the same bytes where a plain TUF client looks for the target
        made[RelPath(f"repack/{_signed_release(release, data).path}")] = data
        for name, content in sign_metadata(release, data, signing.keys, previous, now).items():
            made[RelPath(f"{METADATA_DIR}/{name}")] = content
    return made


def sign_metadata(
    release: Release,
    manifest: bytes,
    keys: Keyring,
    previous: Mapping[str, bytes] | None,
    now: datetime,
) -> dict[str, bytes]:
    """Sign for the release in the ``ci`` role: all metadata, by file name. Raises as :func:`sign`."""
    from repack.model.amend import Amendment

    amendment = Amendment(load(release.label, previous), now)
    amendment.agree(keys.keyset)
    hashes = {name: hashlib.new(name, manifest).hexdigest() for name in HASHES}
    amendment.add(_signed_release(release, manifest), hashes)
    return amendment.publish(keys.signer).files()


def load(label: str, previous: Mapping[str, bytes] | None) -> MetadataSet:
    """The metadata to go on from, verified; an empty set where there was none."""
    from repack.model.metadata import MetadataSet

    if not previous:
        return MetadataSet(label)
    return MetadataSet.load(previous, label, METADATA_DIR)


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
