"""One file that installs a release: the script that unpacks its environment, and the environment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.channel import manifest
from repack.channel.layout import MANIFEST
from repack.channel.scripts import self_extracting
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic, beneath, digests
from repack.release.bootstrap import FOLDER, SCRIPT

if TYPE_CHECKING:
    from repack.channel.folder import Channels
    from repack.names import Digest, LabelName


class WrittenInstaller(Struct, frozen=True):
    """A self-extracting file."""

    path: Path
    release: int
    platform: str
    size: int
    sha256: Digest

    def to_json(self) -> dict[str, object]:
        """What ``repack installer --json`` prints."""
        return {
            "path": str(self.path),
            "release": self.release,
            "platform": self.platform,
            "size": self.size,
            "sha256": self.sha256,
        }


def write_installer(
    channels: Channels, label: LabelName, platform: str, output: Path | None
) -> WrittenInstaller:
    """Write the self-extracting file of the published release.

    Args:
        platform: such as ``linux-64``.
        output: where; ``LABEL-N-PLATFORM.sh`` in the current folder if None.

    Raises:
        UsageError: nothing is published, or no environment was packed for the platform.
        IntegrityError: the channel is damaged.
        SpaceError: the disk is full.
    """
    published = channels.published(label)
    data = channels.text(label, MANIFEST)
    if data is None:
        hint = f"build it with: repack label {label}"
        raise UsageError(f"label {label!r} is not published", where=published, hint=hint)
    release = manifest.parse(data, published / MANIFEST)
    folder = f"{FOLDER}/{platform}/"
    entry = next((e for e in release.packages.values() if e.path.startswith(folder)), None)
    script = channels.text(label, f"{folder}{SCRIPT}")
    if entry is None or script is None:
        raise UsageError(
            f"release {release.release} of label {label!r} packs no environment for {platform}",
            where=published,
            hint="write `bootstrap: repack` into the label, for its Linux platforms, and build it",
        )
    if digests.digest(published / entry.path)[0] != entry.sha256:
        raise IntegrityError(
            "the packed environment is not what was released",
            where=published / entry.path,
            hint=f"repack label {label} puts it back",
        )
    path = output or Path(f"{label}-{release.release}-{platform}.sh")
    with (
        atomic.writing(path, 0o755) as stream,
        beneath.reading(published / entry.path) as archive,
    ):
        stream.write(self_extracting(script))
        shutil.copyfileobj(archive, stream, 1 << 20)
    sha256, size = digests.digest(path)
    return WrittenInstaller(path, release.release, platform, size, sha256)
