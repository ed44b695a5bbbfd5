"""Delta: from two releases of a label, the file that leads from one to the other."""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repack.errors import IntegrityError
from repack.model import delta as model
from repack.model import manifest as manifests
from repack.model.delta import Delta, Patched, Pin
from repack.model.integrity import MANIFEST_PATH
from repack.model.manifest import Artifact
from repack.model.names import Digest, Digest384, RelPath
from repack.model.progress import SILENT, Progress
from repack.places import archive, delta_file, files, patch, recompress
from repack.places.delta_file import Content

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.model.delta import Form
    from repack.model.keys import Key
    from repack.model.manifest import Manifest
    from repack.model.patch import Part, Patch
    from repack.places.channel import Tree

# Bytes a second that a stream is compressed with, by kind and the highest level of that speed. A
# table and not a clock: the same releases must give the same delta. Measured on one core, rounded.
_SPEEDS: Final = (
    ("zstd", 3, 150e6),
    ("zstd", 6, 50e6),
    ("zstd", 9, 30e6),
    ("zstd", 12, 15e6),
    ("zstd", 15, 6e6),
    ("zstd", 22, 2e6),
    ("bz2", 9, 10e6),
)
_NO_LIMIT: Final = 1 << 50


@dataclass(frozen=True, slots=True)
class Order:
    """A delta to be made.

    Attributes:
        form: ``plain`` for a tar that ``tar -x`` can apply; it holds no patches.
        carry: bytes a second that carrying the delta costs. A patch pays where carrying what it
            saves would take longer than making the package again; 0: whole packages only.
        key: signs the manifest.
    """

    old: Tree
    new: Tree
    form: Form
    carry: float
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Made:
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


def create(order: Order, out: Path, progress: Progress = SILENT) -> Made:
    """Write the delta; it appears whole or not at all.

    Raises:
        IntegrityError: a package in the store is damaged.
        SpaceError: the disk is full.
        PlaceError: a file cannot be read or written.
    """
    old, new = _manifest(order.old), _manifest(order.new)
    before = {a.path: a for a in old.artifacts}
    fresh = [a for a in new.artifacts if _sha256(before.get(a.path)) != _sha256(a)]
    with files.faults_at(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=files.TEMP_PREFIX, dir=out.parent)
    with scratch as folder:
        patches = {}
        if order.form == "patched" and order.carry > 0:
            maker = _Maker(order, before, Path(folder))
            with progress.phase("patch", len(fresh), "packages") as advance:
                for artifact in fresh:
                    if (made := maker.make(artifact)) is not None:
                        patches[artifact.path] = made
                    advance(1)
        return _write(order, out, _Parcel(old, new, fresh, patches), progress)


@dataclass(frozen=True, slots=True)
class _Parcel:
    old: Manifest
    new: Manifest
    fresh: list[Artifact]
    patches: Mapping[RelPath, tuple[Patched, Path]]


def _write(order: Order, out: Path, parcel: _Parcel, progress: Progress) -> Made:
    old, new = parcel.old, parcel.new
    whole = {a.path: a for a in parcel.fresh if a.path not in parcel.patches}
    archives = {path: order.new.packages[path] for path in whole}
    archives |= {row.patch: path for row, path in parcel.patches.values()}
    base = f"{new.id}@{old.release}"
    delta = Delta(
        base=Pin(old.release, _pin(order.old)),
        target=Pin(new.release, _pin(order.new)),
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
        delta_file.write(out, content, order.form, advance)
    channel = sum(a.size for a in new.artifacts) + sum(map(len, order.new.texts.values()))
    return Made(out, manifest, delta, out.stat().st_size, channel, tuple(sorted(whole)))


class _Maker:
    """Makes the patches of one delta."""

    def __init__(self, order: Order, before: Mapping[RelPath, Artifact], scratch: Path) -> None:
        self._order = order
        self._before = before
        self._scratch = scratch

    def make(self, artifact: Artifact) -> tuple[Patched, Path] | None:
        """The patch that makes a package, where there is one and it pays."""
        base = model.base_for(artifact.path, self._before)
        if base is None or base not in self._order.old.packages:
            return None
        name, package = RelPath(f"{model.PATCHES}/{artifact.path}"), self._package(artifact.path)
        before = self._payload("base", base, self._order.old.packages[base])
        own = self._payload("own", artifact.path, package)
        target = self._scratch / _sha256(artifact)
        with files.faults_at(target), target.open("wb") as out:
            found = patch.make(package, artifact.path.rpartition("/")[2], before, own, out)
        if found is None or not self._pays(found, artifact, target.stat().st_size):
            files.remove(target)
            return None
        if not self._proved(artifact, target, before):
            files.remove(target)
            return None
        row = Patched(name, artifact.path, base, _sha256(self._before[base]), before.size)
        return row, target

    def _package(self, path: RelPath) -> Path:
        return self._order.new.packages[path]

    def _payload(self, role: str, path: RelPath, package: Path) -> patch.Payload:
        return patch.unpack(package, path.rpartition("/")[2], self._scratch / role, _NO_LIMIT)

    def _pays(self, found: Patch, artifact: Artifact, size: int) -> bool:
        saved = artifact.size - size
        return saved > 0 and saved / self._order.carry > sum(map(_seconds, found.parts))

    def _proved(self, artifact: Artifact, target: Path, before: patch.Payload) -> bool:
        """Do what the target will do, and compare."""
        again = self._scratch / "again"
        with files.faults_at(again), again.open("wb") as out:
            patch.apply(target, before, out)
        return files.digest(again) == (artifact.sha256, artifact.size)


def _seconds(part: Part) -> float:
    """What it takes to compress a part again."""
    if part.recipe is None:
        return 0.0
    kind, level = part.recipe.kind, part.recipe.level
    speed = next(s for name, highest, s in _SPEEDS if name == kind and level <= highest)
    return part.unpacked / speed


def _manifest(tree: Tree) -> Manifest:
    return manifests.parse(tree.texts[MANIFEST_PATH], MANIFEST_PATH)


def _pin(tree: Tree) -> Digest:
    return Digest(hashlib.sha256(tree.texts[MANIFEST_PATH]).hexdigest())


def _sha256(artifact: Artifact | None) -> Digest:
    if artifact is None:
        return Digest("0" * 64)
    if artifact.sha256 is None:
        raise IntegrityError("the release's manifest names no SHA-256", where=artifact.path)
    return artifact.sha256


def _text(path: RelPath, data: bytes) -> Artifact:
    sha256, sha384 = hashlib.sha256(data).hexdigest(), hashlib.sha384(data).hexdigest()
    return Artifact(path, len(data), Digest(sha256), Digest384(sha384))


def _patch(name: RelPath, path: Path, base: str) -> Artifact:
    digest, size = files.digest(path)
    return Artifact(name, size, digest, Digest384(archive.sha384(path)), "diff", base)


def _moment(manifest: Manifest) -> int:
    try:
        return int(dt.datetime.fromisoformat(manifest.generated_at or "").timestamp())
    except ValueError as fault:
        raise IntegrityError("the release's manifest has no time", where=MANIFEST_PATH) from fault
