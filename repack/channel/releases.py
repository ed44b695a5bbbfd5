"""Several releases in one channel folder: which there are, and which files are theirs alone."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.channel import integrity, manifest
from repack.channel.layout import INTEGRITY_PATH, MANIFEST, RELEASES
from repack.errors import IntegrityError
from repack.file_entry import FileEntry
from repack.fs import atomic, beneath
from repack.fs.walk import read_or_none
from repack.names import Digest, RelPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from repack.channel.manifest import Manifest

_LIMIT: Final = 256 << 20


class StoredRelease(Struct, frozen=True):
    """A release on a medium.

    Attributes:
        texts: all but its packages and the label's metadata, by path in the release.
        whole: whether every text is there and right.
    """

    manifest: Manifest
    data: bytes
    texts: Mapping[RelPath, bytes]
    whole: bool

    def beside(self, standing: Mapping[RelPath, bytes]) -> dict[RelPath, bytes]:
        """Where its texts go when another release stands; what the two share is not repeated."""
        base = f"{RELEASES}/{self.manifest.release}"
        own = {path: data for path, data in self.texts.items() if standing.get(path) != data}
        return {
            RelPath(f"{base}/manifest.json"): self.data,
            **{RelPath(f"{base}/{path}"): data for path, data in own.items()},
        }


def manifests(channel: Path) -> Iterator[tuple[Manifest, bytes]]:
    """The manifests of all releases in a channel, the standing one first; damaged ones left out."""
    standing = channel / MANIFEST
    beneath.guard(channel)
    with atomic.os_errors_at(channel / RELEASES):
        inner = beneath.scan_if_there(channel / RELEASES)
        folders = [channel / RELEASES / entry.name for entry in inner if entry.kind == "folder"]
        others = [path for path in folders if beneath.is_file(path / INTEGRITY_PATH)]
    seen = set()
    for path in (standing, *(one / "manifest.json" for one in others)):
        try:
            data = read_or_none(path, manifest.MAX_BYTES) or b""
            release = manifest.parse(data, path)
            number = release.release
        except IntegrityError:
            continue
        if path != standing and path.parent.name != str(number):
            continue
        if number not in seen:
            seen.add(number)
            yield release, data


def stored_releases(channel: Path) -> list[StoredRelease]:
    """Every release in a channel on a medium, the standing one first."""
    return [_stored(channel, release, data) for release, data in manifests(channel)]


def _stored(channel: Path, release: Manifest, data: bytes) -> StoredRelease:
    base = channel / RELEASES / str(release.release)
    texts: dict[RelPath, bytes] = {}
    pin = release.integrity
    listed = _read_intact(channel, base, INTEGRITY_PATH, pin.sha256 if pin else "")
    if listed is None:
        return StoredRelease(release, data, {}, whole=False)
    texts[INTEGRITY_PATH] = listed
    try:
        entries = integrity.parse(listed, base / INTEGRITY_PATH)
    except IntegrityError:
        return StoredRelease(release, data, {}, whole=False)
    packages, whole = {artifact.path for artifact in release.artifacts}, True
    for path, entry in entries.items():
        if path not in packages:
            text = _read_intact(channel, base, path, entry.sha256)
            whole = whole and text is not None
            if text is not None:
                texts[path] = text
    return StoredRelease(release, data, texts, whole)


def _read_intact(channel: Path, base: Path, path: RelPath, sha256: str) -> bytes | None:
    """The release's own copy of ``path``, else the channel's, if it has that SHA-256."""
    for place in (base / path, channel / path):
        try:
            data = read_or_none(place, _LIMIT)
        except IntegrityError:
            continue
        if data is not None and hashlib.sha256(data).hexdigest() == sha256:
            return data
    return None


def extra_files(
    channel: Path, is_vouched: Callable[[Manifest], bool] = lambda _: True
) -> dict[RelPath, FileEntry]:
    """Every file that the releases beside the standing one own, where it lies in the channel.

    A release counts only in the folder of its own number, for the same label, and if
    ``is_vouched``.

    An entry says what the file must be. What release N shares with the standing one is listed
    where the standing one has it.
    """
    owned: dict[RelPath, FileEntry] = {}
    releases = list(manifests(channel))
    for release, data in releases[1:]:
        if release.id != releases[0][0].id or not is_vouched(release):
            continue
        base = f"{RELEASES}/{release.release}"
        listing, pin = f"{base}/{INTEGRITY_PATH}", release.integrity
        rows = [FileEntry.of_bytes(RelPath(f"{base}/manifest.json"), data)]
        with contextlib.suppress(IntegrityError):
            content = atomic.read(channel / listing, integrity.MAX_BYTES)
            if pin is not None and pin.sha256 == _sha256(content):
                rows.append(FileEntry(RelPath(listing), len(content), pin.sha256))
                for path, entry in integrity.parse(content, listing).items():
                    own = RelPath(f"{base}/{path}")
                    rows.append(replace(entry, path=own if beneath.exists(channel / own) else path))
        owned |= {row.path: row for row in rows}
    return owned


def _sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())
