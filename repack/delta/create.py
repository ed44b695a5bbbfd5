"""Makes a delta: from two releases of a label, the file that leads from one to the other."""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct

from repack.channel.history import past_tree
from repack.channel.layout import MANIFEST_PATH, is_packed_environment
from repack.channel.manifest import Artifact, Manifest, build, parse
from repack.delta import patch, recompress, selection
from repack.delta.file import DeltaContent, write
from repack.delta.manifest import FIELD, PATCHES, Delta, Patched, ReleasePin, find_base
from repack.delta.payload import Payload, unpack
from repack.delta.selection import PatchCandidate
from repack.errors import IntegrityError, KeyRefusedError, UsageError
from repack.fs import atomic, beneath, digests
from repack.names import Digest, Digest384, RelPath
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repack.channel.folder import Channels, ChannelTree
    from repack.delta.manifest import Form
    from repack.delta.patch_format import Patch
    from repack.keys.shared_key import SharedKey
    from repack.names import LabelName
    from repack.store.store import Store


_NO_LIMIT: Final = 1 << 50
# A raw patch of a fiftieth of the package is not beaten by one that has to be compressed again.
_SMALL: Final = 50


class DeltaRequest(Struct, frozen=True):
    """The two releases of a delta, and how it shall be made.

    Attributes:
        form: ``plain`` for a tar that ``tar -x`` can apply; it holds no patches.
        carry: bytes a second that carrying the delta takes; 0: whole packages only. See
            :func:`repack.delta.selection.choose`.
        key: gives the key that the label signs with; asked only when the releases are signed.
        more_bases: other releases that a plain delta has to fit, so that no device needs another.
    """

    label: LabelName
    old: int
    new: int
    form: Form
    carry: float | None
    key: Callable[[], SharedKey | None]
    more_bases: tuple[int, ...] = ()


class DeltaResult(Struct, frozen=True):
    """A delta file that was written.

    Attributes:
        size: bytes of the file.
        channel: bytes of the channel that it leads to.
        whole: packages that travel whole.
    """

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
            "patched": [row.path for row in self.delta.patches],
            "dropped": list(self.delta.dropped),
            "tools": self.delta.tools,
            "signed": self.manifest.signature is not None,
        }


def create_delta(
    request: DeltaRequest,
    channels: Channels,
    store: Store,
    out: Path,
    progress: Progress = SILENT,
) -> DeltaResult:
    """Write the delta between two releases; it appears whole or not at all.

    Raises:
        UsageError: a release is not kept, or it is twice the same.
        FetchError: the store has lost some of their packages.
        IntegrityError: a package in the store is damaged.
        KeyRefusedError: the releases are signed, and there is no key to sign the delta with.
        SpaceError: the disk is full.
        PlaceError: a file cannot be read or written.
    """
    if request.old == request.new:
        raise UsageError(
            "a delta leads from one release to another one", got=f"twice {request.old}"
        )
    with channels.exclusive(request.label):
        bases = [
            _Release.of(past_tree(channels, request.label, number, store))
            for number in (request.old, *request.more_bases)
        ]
        new = _Release.of(past_tree(channels, request.label, request.new, store))
    old, key = bases[0], _signing_key(new.manifest, request)
    # What every base has need not travel.
    before = set.intersection(*({(a.path, a.sha256) for a in b.manifest.artifacts} for b in bases))
    fresh = [a for a in new.manifest.artifacts if (a.path, a.entry.sha256) not in before]
    with atomic.os_errors_at(out):
        beneath.make_folders(out.parent)
        scratch = tempfile.TemporaryDirectory(prefix=atomic.TEMP_PREFIX, dir=out.parent)
    with scratch as folder:
        patches: list[_Attempt] = []
        if request.form == "patched" and request.carry != 0:
            maker = _PatchMaker(old, new, request.carry, Path(folder))
            patches = maker.make_all(fresh, progress)
        patched = {attempt.row.path for attempt in patches}
        whole = {artifact.path: artifact for artifact in fresh if artifact.path not in patched}
        manifest, delta = _describe(bases, new, whole, patches, request.form)
        if key is not None:
            manifest = manifest.signed(key)
        archives = {path: new.tree.packages[path] for path in whole}
        archives |= {attempt.row.patch: attempt.path for attempt in patches}
        content = DeltaContent(manifest, new.tree.texts, archives, _moment(new.manifest))
        size = sum(artifact.size for artifact in manifest.artifacts)
        with progress.phase(f"write {out.name}", size, "bytes") as advance:
            write(out, content, request.form, advance)
    channel = sum(artifact.size for artifact in new.manifest.artifacts)
    channel += sum(map(len, new.tree.texts.values()))
    return DeltaResult(out, manifest, delta, out.stat().st_size, channel, tuple(sorted(whole)))


def _signing_key(target: Manifest, request: DeltaRequest) -> SharedKey | None:
    if target.signature is None:
        return None
    key = request.key()
    if key is None:
        raise KeyRefusedError(
            f"release {request.new} is signed, so its delta must be",
            hint="give --key, or --labels-dir with the label that names it",
        )
    target.check(key, f"release {request.new}")
    return key


class _Release(Struct, frozen=True):
    """A release that is kept: its files and its manifest."""

    tree: ChannelTree
    manifest: Manifest

    @classmethod
    def of(cls, tree: ChannelTree) -> _Release:
        return cls(tree, parse(tree.texts[MANIFEST_PATH], MANIFEST_PATH))

    @property
    def pin(self) -> ReleasePin:
        sha256 = hashlib.sha256(self.tree.texts[MANIFEST_PATH]).hexdigest()
        return ReleasePin(self.manifest.release, Digest(sha256))


def _describe(
    bases: Sequence[_Release],
    new: _Release,
    whole: Mapping[RelPath, Artifact],
    patches: Sequence[_Attempt],
    form: Form,
) -> tuple[Manifest, Delta]:
    """The delta's manifest, and the field ``delta`` in it."""
    target, old = new.manifest, bases[0]
    dropped = {path for base in bases for path in base.tree.paths} - new.tree.paths
    delta = Delta(
        base=old.pin,
        target=new.pin,
        form=form,
        patches=tuple(attempt.row for attempt in patches),
        dropped=tuple(map(RelPath, sorted(dropped))),
        tools=recompress.tools() if patches else {},
        more_bases=tuple(base.pin for base in bases[1:]),
    )
    base_id = f"{target.id}@{old.manifest.release}"
    artifacts = [_text_artifact(path, data) for path, data in new.tree.texts.items()]
    artifacts += whole.values()
    artifacts += [_patch_artifact(attempt, base_id) for attempt in patches]
    head = Manifest(
        id=target.id,
        version=target.version,
        platform=target.platform,
        artifacts=(),
        runtime=target.runtime,
        generated_at=target.generated_at,
        extra={FIELD: delta.encode()},
    )
    return build(head, tuple(artifacts)), delta


def _text_artifact(path: RelPath, data: bytes) -> Artifact:
    sha256, sha384 = hashlib.sha256(data).hexdigest(), hashlib.sha384(data).hexdigest()
    return Artifact(path, len(data), Digest(sha256), Digest384(sha384))


def _patch_artifact(attempt: _Attempt, base_id: str) -> Artifact:
    sha256, size = digests.digest(attempt.path)
    sha384 = Digest384(digests.sha384(attempt.path))
    return Artifact(attempt.row.patch, size, sha256, sha384, "diff", base_id)


def _moment(manifest: Manifest) -> int:
    try:
        return int(dt.datetime.fromisoformat(manifest.generated_at or "").timestamp())
    except ValueError as fault:
        raise IntegrityError("the release's manifest has no time", where=MANIFEST_PATH) from fault


class _Attempt(Struct, frozen=True):
    """A patch that was tried out: it makes the package it is for."""

    candidate: PatchCandidate
    row: Patched
    path: Path


class _PatchMaker:
    """Makes the patches of one delta."""

    def __init__(self, old: _Release, new: _Release, carry: float | None, scratch: Path) -> None:
        self._old, self._new = old.tree.packages, new.tree.packages
        self._channel_size = sum(artifact.size for artifact in new.manifest.artifacts)
        self._base_digests = {a.path: a.entry.sha256 for a in old.manifest.artifacts}
        self._carry = carry
        self._scratch = scratch

    def make_all(self, fresh: Sequence[Artifact], progress: Progress) -> list[_Attempt]:
        """The patches that the delta takes, at most one for each package."""
        attempts: dict[RelPath, list[_Attempt]] = {}
        with progress.phase("patch", len(fresh), "packages") as advance:
            for artifact in fresh:
                attempts[artifact.path] = self._make(artifact)
                advance(1)
        candidates = {path: [one.candidate for one in tried] for path, tried in attempts.items()}
        chosen = selection.choose(candidates, self._channel_size, self._carry)
        return [
            next(attempt for attempt in attempts[path] if attempt.candidate is candidate)
            for path, candidate in chosen.items()
        ]

    def _make(self, artifact: Artifact) -> list[_Attempt]:
        """The patches that make a package, where there are some that may pay."""
        base = find_base(artifact.path, self._base_digests)
        if base is None or base not in self._old or is_packed_environment(artifact.path):
            return []
        old, new = self._old[base], self._new[artifact.path]
        before, own = self._payload("base", base, old), self._payload("own", artifact.path, new)
        fn = artifact.path.rpartition("/")[2]
        raw = self._try(
            artifact,
            base,
            Payload.raw(old),
            lambda out: patch.make_raw_patch(new, (old, before), own, out),
        )
        if raw is not None and raw.candidate.size * _SMALL <= artifact.size:
            return [raw]
        recompressed = self._try(
            artifact,
            base,
            before,
            lambda out: patch.make_patch(new, fn, before, own, out),
        )
        return [attempt for attempt in (raw, recompressed) if attempt is not None]

    def _try(
        self,
        artifact: Artifact,
        base: RelPath,
        payload: Payload,
        make: Callable[[IO[bytes]], Patch | None],
    ) -> _Attempt | None:
        """Make a patch, and apply it as the target will; None if it does not pay or differs."""
        target = self._scratch / f"{artifact.sha256}-{len(beneath.scan(self._scratch))}"
        with atomic.os_errors_at(target), beneath.writing(target) as out:
            made = make(out)
        if made is not None:
            candidate = PatchCandidate(artifact.size, target.stat().st_size, made.parts)
            if selection.pays(candidate, self._carry) and self._is_proved(
                artifact, target, payload
            ):
                name = RelPath(f"{PATCHES}/{artifact.path}")
                unpacked = 0 if made.raw else payload.size
                row = Patched(name, artifact.path, base, self._base_digests[base], unpacked)
                return _Attempt(candidate, row, target)
        atomic.remove(target)
        return None

    def _payload(self, role: str, path: RelPath, package: Path) -> Payload:
        return unpack(package, path.rpartition("/")[2], self._scratch / role, _NO_LIMIT)

    def _is_proved(self, artifact: Artifact, target: Path, base: Payload) -> bool:
        rebuilt = self._scratch / "again"
        with atomic.os_errors_at(rebuilt), beneath.writing(rebuilt) as out:
            patch.apply_patch(target, base, out)
        return digests.digest(rebuilt) == (artifact.sha256, artifact.size)
