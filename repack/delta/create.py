"""Delta: from two releases of a label, the file that leads from one to the other."""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.channel import manifest as manifests
from repack.channel.history import past_tree
from repack.channel.layout import MANIFEST_PATH
from repack.channel.manifest import Artifact
from repack.delta import file, patch, recompress, selection
from repack.delta import manifest as model
from repack.delta.file import Content
from repack.delta.manifest import Delta, FilePin, Patched
from repack.delta.payload import Payload, unpack
from repack.delta.selection import PatchCandidate
from repack.errors import (
    IntegrityError,
    KeyRefusedError,
    UsageError,
)
from repack.fs import atomic, digests
from repack.names import Digest, Digest384, RelPath
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repack.channel.folder import Channels, ChannelTree
    from repack.channel.manifest import Manifest
    from repack.delta.manifest import Form
    from repack.delta.patch_format import Patch
    from repack.keys.shared_key import SharedKey
    from repack.names import LabelName
    from repack.store.store import Store


_NO_LIMIT: Final = 1 << 50
# A raw patch of a fiftieth of the package is not beaten by one that has to be compressed again.
_SMALL: Final = 50


class DeltaOptions(Struct, frozen=True):
    """A delta to be made.

    Attributes:
        form: ``plain`` for a tar that ``tar -x`` can apply; it holds no patches.
        carry: bytes a second that carrying the delta takes; 0: whole packages only. See
            :func:`repack.delta.selection.choose`.
        key: signs the manifest.
    """

    old: ChannelTree
    new: ChannelTree
    form: Form
    carry: float | None
    key: SharedKey | None = None


class DeltaResult(Struct, frozen=True):
    """A delta file that was written."""

    path: Path
    manifest: Manifest
    delta: Delta
    size: int
    channel: int
    whole: tuple[RelPath, ...]

    def to_json(self) -> dict[str, object]:
        """The document ``repack delta create --json`` prints."""
        return {
            "file": str(self.path),
            "label": self.manifest.id,
            "from": self.delta.base.release,
            "to": self.delta.target.release,
            "form": self.delta.form,
            "bytes": self.size,
            "channel_bytes": self.channel,
            "whole": list(self.whole),
            "patched": [one.path for one in self.delta.patches],
            "dropped": list(self.delta.dropped),
            "tools": dict(self.delta.tools),
            "signed": self.manifest.signature is not None,
        }


def write_delta(order: DeltaOptions, out: Path, progress: Progress = SILENT) -> DeltaResult:
    """Write the delta; it appears whole or not at all.

    Raises:
        IntegrityError: a package in the store is damaged.
        SpaceError: the disk is full.
        PlaceError: a file cannot be read or written.
    """
    old, new = _manifest(order.old), _manifest(order.new)
    before = {a.path: a for a in old.artifacts}
    fresh = [a for a in new.artifacts if _sha256(before.get(a.path)) != _sha256(a)]
    with atomic.os_errors_at(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=atomic.TEMP_PREFIX, dir=out.parent)
    with scratch as folder:
        tried: dict[RelPath, list[_Attempt]] = {}
        if order.form == "patched" and order.carry != 0:
            maker = _PatchMaker(order, before, Path(folder))
            with progress.phase("patch", len(fresh), "packages") as advance:
                for artifact in fresh:
                    tried[artifact.path] = maker.make(artifact)
                    advance(1)
        ways = {path: [one.way for one in some] for path, some in tried.items()}
        chosen = selection.choose(ways, sum(a.size for a in new.artifacts), order.carry)
        patches = {
            path: next((one.row, one.path) for one in tried[path] if one.way is way)
            for path, way in chosen.items()
        }
        return _write(order, out, _Contents(old, new, fresh, patches), progress)


class _Contents(Struct, frozen=True):
    old: Manifest
    new: Manifest
    fresh: list[Artifact]
    patches: Mapping[RelPath, tuple[Patched, Path]]


def _write(order: DeltaOptions, out: Path, parcel: _Contents, progress: Progress) -> DeltaResult:
    old, new = parcel.old, parcel.new
    whole = {a.path: a for a in parcel.fresh if a.path not in parcel.patches}
    archives = {path: order.new.packages[path] for path in whole}
    archives |= {row.patch: path for row, path in parcel.patches.values()}
    base = f"{new.id}@{old.release}"
    delta = Delta(
        base=FilePin(old.release, _pin(order.old)),
        target=FilePin(new.release, _pin(order.new)),
        form=order.form,
        patches=tuple(row for row, _ in parcel.patches.values()),
        dropped=tuple(sorted({a.path for a in old.artifacts} - {a.path for a in new.artifacts})),
        tools=recompress.tools() if parcel.patches else (),
    )
    artifacts = [_text(path, data) for path, data in order.new.texts.items()]
    artifacts += whole.values()
    artifacts += [_patch(row.patch, path, base) for row, path in parcel.patches.values()]
    head = manifests.Manifest(
        id=new.id,
        version=new.version,
        platform=new.platform,
        artifacts=(),
        runtime=new.runtime,
        generated_at=new.generated_at,
        extra={model.FIELD: delta.to_json()},
    )
    manifest = manifests.build(head, tuple(artifacts))
    if order.key is not None:
        manifest = manifest.signed(order.key)
    content = Content(manifest, order.new.texts, archives, _moment(new))
    size = sum(a.size for a in manifest.artifacts)
    with progress.phase(f"write {out.name}", size, "bytes") as advance:
        file.write(out, content, order.form, advance)
    channel = sum(a.size for a in new.artifacts) + sum(map(len, order.new.texts.values()))
    return DeltaResult(out, manifest, delta, out.stat().st_size, channel, tuple(sorted(whole)))


class _Attempt(Struct, frozen=True):
    """A patch that makes the package it is for, as was tried."""

    way: PatchCandidate
    row: Patched
    path: Path


class _PatchMaker:
    """Makes the patches of one delta."""

    def __init__(
        self, order: DeltaOptions, before: Mapping[RelPath, Artifact], scratch: Path
    ) -> None:
        self._order = order
        self._before = before
        self._scratch = scratch

    def make(self, artifact: Artifact) -> list[_Attempt]:
        """The patches that make a package, where there are some that may pay."""
        base = model.base_for(artifact.path, self._before)
        if base is None or base not in self._order.old.packages:
            return []
        old, new = self._order.old.packages[base], self._order.new.packages[artifact.path]
        before, own = self._payload("base", base, old), self._payload("own", artifact.path, new)
        fn = artifact.path.rpartition("/")[2]
        found = []
        raw = self._try(
            artifact, base, lambda out: patch.make_raw_patch(new, (old, before), own, out)
        )
        if raw is not None and self._proved(artifact, raw, Payload.raw(old)):
            found.append(replace(raw, row=replace(raw.row, unpacked=0)))
        if raw is None or raw.way.size * _SMALL > artifact.size:
            one = self._try(artifact, base, lambda out: patch.make_patch(new, fn, before, own, out))
            if one is not None and self._proved(artifact, one, before):
                found.append(replace(one, row=replace(one.row, unpacked=before.size)))
        return found

    def _try(
        self, artifact: Artifact, base: RelPath, make: Callable[[IO[bytes]], Patch | None]
    ) -> _Attempt | None:
        target = self._scratch / f"{_sha256(artifact)}-{len(list(self._scratch.iterdir()))}"
        with atomic.os_errors_at(target), target.open("wb") as out:
            found = make(out)
        if found is not None:
            way = PatchCandidate(artifact.size, target.stat().st_size, found.parts)
            if selection.pays(way, self._order.carry):
                name = RelPath(f"{model.PATCHES}/{artifact.path}")
                row = Patched(name, artifact.path, base, _sha256(self._before[base]), 0)
                return _Attempt(way, row, target)
        atomic.remove(target)
        return None

    def _payload(self, role: str, path: RelPath, package: Path) -> Payload:
        return unpack(package, path.rpartition("/")[2], self._scratch / role, _NO_LIMIT)

    def _proved(self, artifact: Artifact, tried: _Attempt, base: Payload) -> bool:
        """Do what the target will do, and compare."""
        again = self._scratch / "again"
        with atomic.os_errors_at(again), again.open("wb") as out:
            patch.apply_patch(tried.path, base, out)
        return digests.digest(again) == (artifact.sha256, artifact.size)


def _manifest(tree: ChannelTree) -> Manifest:
    return manifests.parse(tree.texts[MANIFEST_PATH], MANIFEST_PATH)


def _pin(tree: ChannelTree) -> Digest:
    return Digest(hashlib.sha256(tree.texts[MANIFEST_PATH]).hexdigest())


def _sha256(artifact: Artifact | None) -> Digest:
    return Digest("0" * 64) if artifact is None else artifact.entry.sha256


def _text(path: RelPath, data: bytes) -> Artifact:
    sha256, sha384 = hashlib.sha256(data).hexdigest(), hashlib.sha384(data).hexdigest()
    return Artifact(path, len(data), Digest(sha256), Digest384(sha384))


def _patch(name: RelPath, path: Path, base: str) -> Artifact:
    digest, size = digests.digest(path)
    return Artifact(name, size, digest, Digest384(digests.sha384(path)), "diff", base)


def _moment(manifest: Manifest) -> int:
    try:
        return int(dt.datetime.fromisoformat(manifest.generated_at or "").timestamp())
    except ValueError as fault:
        raise IntegrityError("the release's manifest has no time", where=MANIFEST_PATH) from fault


class DeltaRequest(Struct, frozen=True):
    """The two releases of a delta, and how it shall be made. See :class:`repack.delta.create.Order`.

    Attributes:
        key: gives the key that the label signs with; asked only when the releases are signed.
    """

    label: LabelName
    old: int
    new: int
    form: Form
    carry: float | None
    key: Callable[[], SharedKey | None]


def create_delta(
    leap: DeltaRequest, channels: Channels, store: Store, out: Path, progress: Progress = SILENT
) -> DeltaResult:
    """Write the delta between two releases.

    Raises:
        UsageError: a release is not kept, or it is twice the same.
        FetchError: the store has lost some of their packages.
        KeyRefusedError: the releases are signed, and there is no key to sign the delta with.
        SpaceError: the disk is full.
    """
    if leap.old == leap.new:
        raise UsageError("a delta leads from one release to another one", got=f"twice {leap.old}")
    with channels.exclusive(leap.label):
        old = past_tree(channels, leap.label, leap.old, store)
        new = past_tree(channels, leap.label, leap.new, store)
    target = manifests.parse(new.texts[MANIFEST_PATH], MANIFEST_PATH)
    order = DeltaOptions(old, new, leap.form, leap.carry, _key(target, leap))
    return write_delta(order, out, progress)


def _key(target: Manifest, leap: DeltaRequest) -> SharedKey | None:
    if target.signature is None:
        return None
    key = leap.key()
    if key is None:
        raise KeyRefusedError(
            f"release {leap.new} is signed, so its delta must be",
            hint="give --key, or --labels-dir with the label that names it",
        )
    target.check(key, f"release {leap.new}")
    return key
