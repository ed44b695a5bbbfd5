"""Sign a release: the HMAC in its manifest, and the TUF metadata around it.

Works without any key: then the manifest is unsigned and there is no metadata. Nothing is written
here; what comes back is laid into the staged channel. Importing this module costs nothing:
python-tuf and cryptography come in when there is something to sign with.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from repack.model.channel import MANIFEST
from repack.model.integrity import METADATA_DIR
from repack.model.names import Digest, RelPath
from repack.model.trust import SignedRelease

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from repack.model.keys import Key
    from repack.model.manifest import Manifest
    from repack.model.metadata import MetadataSet
    from repack.places.keyring import Keyring

HASHES = ("sha256", "sha384")


@dataclass(frozen=True, slots=True)
class Signing:
    """What a label signs with; with neither key nor keys it is unsigned.

    Attributes:
        hmac: the shared key of the manifest.
        keys: the keys of the metadata.
        expiry: days per role, where they are not the default.
    """

    hmac: Key | None = None
    keys: Keyring | None = None
    expiry: Mapping[str, int] = field(default_factory=dict)


UNSIGNED = Signing()

    @property
    def names(self) -> tuple[str, ...]:
        """What tells these keys from others, without giving any away."""
        hmac = (f"hmac:{self.hmac.key_id}",) if self.hmac else ()
        return (*hmac, *(sorted(self.keys.keyset.keys) if self.keys else ()))


def sign(
    manifest: Manifest,
    signing: Signing,
    previous: Mapping[str, bytes] | None,
    now: datetime,
) -> dict[RelPath, bytes]:
    """The manifest's file and everything that vouches for it, by path in the channel.

    Args:
        manifest: the release, described and not signed yet.
        signing: the keys, if any.
        previous: the metadata that was last published, by file name; None or empty if there is
            none.
        now: the time.

    Raises:
        KeyRefusedError: a key that is needed cannot be used.
        TargetError: the previous metadata is not sound, or the number was signed otherwise.
    """
    if signing.hmac is not None:
        manifest = manifest.signed(signing.hmac)
    data = manifest.to_bytes()
    made = {RelPath(MANIFEST): data}
    if signing.keys is not None:
        release = _release(manifest, data)
        # the same bytes where a plain TUF client looks for the target
        made[RelPath(f"repack/{release.path}")] = data
        for name, content in _metadata(release, data, signing, previous, now).items():
            made[RelPath(f"{METADATA_DIR}/{name}")] = content
    return made


def load(label: str, previous: Mapping[str, bytes] | None) -> MetadataSet:
    """The metadata to go on from, verified; an empty set where there was none.

    Raises:
        TargetError: it is not sound.
    """
    from repack.model.metadata import MetadataSet

    return MetadataSet.load(previous, label, METADATA_DIR) if previous else MetadataSet(label)


def _metadata(
    release: SignedRelease,
    manifest: bytes,
    signing: Signing,
    previous: Mapping[str, bytes] | None,
    now: datetime,
) -> dict[str, bytes]:
    from repack.model.amend import Amendment

    assert signing.keys is not None  # noqa: S101 - the caller looked
    amendment = Amendment(load(release.label, previous), now, signing.expiry)
    amendment.agree(signing.keys.keyset)
    amendment.add(release, {name: hashlib.new(name, manifest).hexdigest() for name in HASHES})
    return amendment.publish(signing.keys.signer).files()


def _release(manifest: Manifest, data: bytes) -> SignedRelease:
    platform = manifest.platform
    return SignedRelease(
        number=manifest.release,
        label=manifest.id,
        platforms=(platform,) if isinstance(platform, str) else platform,
        tags=(),
        type="ci",
        length=len(data),
        sha256=Digest(hashlib.sha256(data).hexdigest()),
    )
