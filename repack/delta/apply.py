"""Applies a delta to a channel: check its base, assemble the new channel, stage, verify, publish."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.channel.folder import Channels, ChannelTree
from repack.channel.layout import MANIFEST_PATH, METADATA_DIR, check_names
from repack.channel.manifest import MAX_BYTES, parse
from repack.delta.file import open_delta
from repack.delta.manifest import is_archive, is_text
from repack.delta.rebuild import RebuildJob, rebuild
from repack.errors import (
    IntegrityError,
    MetadataExpiredError,
    RepackError,
    SignatureError,
    SpaceError,
)
from repack.fs import atomic, beneath
from repack.fs.inventory import intact_paths
from repack.progress import SILENT, Progress
from repack.verify.verdict import Requirements
from repack.verify.verify import verify

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from repack.archive.tar_writer import Sink
    from repack.channel.manifest import Artifact, Manifest
    from repack.delta.file import DeltaFile
    from repack.file_entry import FileEntry
    from repack.keys.shared_key import SharedKey
    from repack.names import Digest, RelPath
    from repack.verify.verdict import Verdict


# Room for what file systems round up.
_SLACK: Final = 16 << 20


class DeltaApplied(Struct, frozen=True):
    """A channel that a delta was applied to."""

    folder: Path
    before: str
    verdict: Verdict

    def to_json(self) -> dict[str, object]:
        """The document ``repack delta apply --json`` prints."""
        return {
            "channel": str(self.folder),
            "label": self.verdict.label,
            "from": self.before,
            "release": self.verdict.release,
            "changed": self.before != self.verdict.release,
            "signed_by": self.verdict.signed_by,
            "files": self.verdict.files,
            "bytes": self.verdict.bytes,
            "warnings": self.verdict.warnings,
        }


def apply(
    folder: Path, file: Path, key: SharedKey | None, now: datetime, progress: Progress = SILENT
) -> DeltaApplied:
    """Make a channel the release that a delta leads to.

    Killed at any instant, it leaves the old or the new channel, and the next call goes on.

    Raises:
        IntegrityError: the delta is damaged or for another base, or the channel is damaged.
        SignatureError: a signature is missing or wrong.
        TargetError: the new metadata is not to be believed by what the channel has.
        SpaceError: there is not room enough; the channel is as it was.
        PlaceError: a file cannot be read or written.
    """
    channels, name = Channels.around(folder)
    with channels.exclusive(name):
        base = BaseChannel.of(folder)
        try:
            with open_delta(file) as delta:
                check_base(base, delta, key)
                work = channels.work(name) / delta.sha256
                assembled = assemble(base, delta, work, progress)
            staged = channels.stage(name, assembled.tree)
            requirements = Requirements(key=key, root=first_root(base))
            verdict = verify(staged, requirements, now, assembled.hashed)
            verdict = _accept(verdict, channels.unstaged(name, assembled.tree), base)
        except RepackError:
            # A killed run leaves what it made to the next one; a refused one leaves nothing.
            channels.discard(name)
            atomic.remove(channels.work(name))
            raise
        channels.publish(name, assembled.tree)
        atomic.remove(channels.work(name))
    channels.tidy()
    return DeltaApplied(folder, base.manifest.version, verdict)


def _accept(verdict: Verdict, unstaged: frozenset[str], base: BaseChannel) -> Verdict:
    """The verdict on what is staged, if it may be published.

    Args:
        unstaged: files that lie in the published folder already and are not staged.

    Raises:
        RepackError: it may not.
    """
    expired = [error for error in verdict.refusals if isinstance(error, MetadataExpiredError)]
    for refusal in verdict.refusals:
        if refusal not in expired:
            raise refusal
    wrong = [
        finding
        for finding in verdict.findings
        if finding.kind != "missing" or finding.path not in unstaged
    ]
    if wrong:
        raise IntegrityError(
            f"what the delta makes is no sound channel: {len(wrong)} findings",
            where=base.folder,
            got=str(wrong[0]),
        )
    # Targets decide on metadata past its date; a channel that was copied whole would be as late.
    size = sum(artifact.size for artifact in base.manifest.artifacts if artifact.path in unstaged)
    return replace(
        verdict,
        refusals=[],
        findings=[],
        warnings=[*verdict.warnings, *(error.text() for error in expired)],
        files=verdict.files + len(unstaged),
        bytes=verdict.bytes + size,
    )


class BaseChannel(Struct, frozen=True):
    """The channel a delta is applied to; ``pin`` is the SHA-256 of its manifest."""

    folder: Path
    manifest: Manifest
    pin: str

    @classmethod
    def of(cls, folder: Path) -> BaseChannel:
        """Read the manifest of a channel.

        Raises:
            IntegrityError: there is none.
        """
        path = folder / MANIFEST_PATH
        if not path.is_file():
            raise IntegrityError(
                "there is no manifest: not a repack channel, or not whole", where=folder
            )
        data = atomic.read(path, MAX_BYTES)
        return cls(folder, parse(data, path), hashlib.sha256(data).hexdigest())


def check_base(base: BaseChannel, opened: DeltaFile, key: SharedKey | None) -> None:
    """See that the delta is for this channel, and signed if that is asked for or the channel is.

    Raises:
        IntegrityError: it is for another label, or another release; says which one is needed.
        SignatureError: its signature is missing or wrong.
    """
    manifest, delta = opened.manifest, opened.delta
    if key is not None:
        manifest.check(key, opened.path)
    elif manifest.signature is None and base.manifest.signature is not None:
        raise SignatureError(
            "the delta is not signed, but the channel is", where=opened.path,
            hint="take a delta from who built the channel",
        )  # fmt: skip
    if manifest.id != base.manifest.id:
        raise IntegrityError(
            "the delta is for another label",
            where=opened.path,
            expected=base.manifest.id,
            got=manifest.id,
        )
    if base.pin not in {*(pin.manifest for pin in delta.bases), delta.target.manifest}:
        needed = " or ".join(f"{manifest.id}@{pin.release}" for pin in delta.bases)
        present = f"{base.manifest.id}@{base.manifest.version}"
        raise IntegrityError(
            f"the delta needs {needed}, and the channel is {present}"
            if needed != present
            else f"the delta needs another {needed} than the one that stands here",
            where=base.folder,
            expected=f"{needed}, manifest sha256 {delta.base.manifest}",
            got=f"{present}, manifest sha256 {base.pin}",
            hint=f"have a delta made: repack delta create {manifest.id} --from"
            f" {base.manifest.version} --to {manifest.version}",
        )


class AssembledChannel(Struct, frozen=True):
    """Everything the channel will hold, and what is known of its packages from hashing them."""

    tree: ChannelTree
    hashed: Mapping[RelPath, FileEntry]


def assemble(
    base: BaseChannel, opened: DeltaFile, work: Path, progress: Progress = SILENT
) -> AssembledChannel:
    """Everything the channel will hold; packages that stay are taken where they lie.

    Args:
        work: for what is made, this delta's alone; other folders beside it are removed.

    Raises:
        IntegrityError: the delta is damaged, or the channel is not what its manifest says.
        SpaceError: there is not room enough; checked before the first byte.
        PlaceError: a file cannot be read or written.
    """
    _check_space(opened, work)
    texts = _unpack(opened, work, progress)
    data = texts.get(MANIFEST_PATH, b"")
    if hashlib.sha256(data).hexdigest() != opened.delta.target.manifest:
        raise IntegrityError("the delta brings another manifest than it names", where=opened.path)
    target = parse(data, MANIFEST_PATH)
    entries = target.packages
    release = {path: entry.sha256 for path, entry in entries.items()}
    if odd := [path for path in release if not is_archive(path)]:
        raise IntegrityError("the release has an artifact that is no package", got=odd[0])
    packages = _unchanged(base, entries.values(), progress)
    packages |= _carried(opened, release, work, packages)
    packages |= _rebuilt(base, opened, release, packages, work)
    if missing := sorted(release.keys() - packages.keys()):
        raise IntegrityError(
            f"{len(missing)} packages of the channel are missing or damaged",
            where=base.folder,
            got=", ".join(missing[:5]),
            hint="copy the channel again; a delta needs the whole of its base",
        )
    tree = ChannelTree(packages, texts)
    check_names(tree.paths)
    return AssembledChannel(tree, entries)


def first_root(base: BaseChannel) -> bytes | None:
    """The first root the channel has, to hold the new metadata against; None when it has none."""
    path = base.folder / METADATA_DIR / "1.root.json"
    return atomic.read(path, MAX_BYTES) if path.is_file() else None


def _check_space(opened: DeltaFile, work: Path) -> None:
    # Two packages are rebuilt at a time, each from a base that is unpacked beside it.
    need = sum(artifact.size for artifact in opened.manifest.artifacts) + _SLACK
    need += 2 * max((row.unpacked for row in opened.delta.patches), default=0)
    with atomic.os_errors_at(work):
        beneath.make_folders(work)
        for entry in beneath.scan(work.parent):
            if entry.name != work.name:  # left by another delta, never applied to its end
                atomic.remove(work.parent / entry.name)
        free = shutil.disk_usage(work).free
    if free < need:
        raise SpaceError(
            "there is not room enough for the delta",
            where=work,
            expected=f"{need} bytes",
            got=f"{free} bytes",
        )


def _unpack(opened: DeltaFile, work: Path, progress: Progress) -> dict[RelPath, bytes]:
    """Write packages and patches into the work folder, and return the metadata files."""
    texts: dict[RelPath, bytes] = {}
    size = sum(artifact.size for artifact in opened.manifest.artifacts)

    @contextlib.contextmanager
    def sink_for(artifact: Artifact) -> Iterator[Sink]:
        advance(artifact.size)
        if is_text(artifact):
            sink = io.BytesIO()
            yield sink
            texts[artifact.path] = sink.getvalue()
        else:
            with atomic.writing(work / artifact.entry.sha256) as out:
                yield out

    with progress.phase(f"read {opened.path.name}", size, "bytes") as advance:
        opened.read_members(sink_for)
    return texts


def _unchanged(
    base: BaseChannel, entries: Collection[FileEntry], progress: Progress
) -> dict[RelPath, Path]:
    """The packages of the release that the channel has already, and whole."""
    present = [entry for entry in entries if (base.folder / entry.path).is_file()]
    with progress.phase("check", sum(entry.size for entry in present), "bytes") as advance:
        paths = intact_paths(base.folder, present, advance)
    return {path: base.folder / path for path in paths}


def _carried(
    opened: DeltaFile,
    release: Mapping[RelPath, Digest],
    work: Path,
    packages: Mapping[RelPath, Path],
) -> dict[RelPath, Path]:
    """The packages that came whole."""
    carried = {}
    for artifact in opened.manifest.artifacts:
        if artifact.type != "full" or is_text(artifact):
            continue
        if release.get(artifact.path) != artifact.sha256:
            raise IntegrityError(
                "the delta carries a package that the release does not have", got=artifact.path
            )
        if artifact.path not in packages:
            carried[artifact.path] = work / artifact.entry.sha256
    return carried


def _rebuilt(
    base: BaseChannel,
    opened: DeltaFile,
    release: Mapping[RelPath, Digest],
    packages: Mapping[RelPath, Path],
    work: Path,
) -> dict[RelPath, Path]:
    """The packages that came as patches, rebuilt."""
    patches = {a.path: work / a.entry.sha256 for a in opened.manifest.artifacts if a.type == "diff"}
    rows = opened.delta.patches
    if odd := [row.path for row in rows if row.path not in release]:
        raise IntegrityError(
            "the delta patches a package that the release does not have", got=odd[0]
        )
    jobs = [
        RebuildJob(row, base.folder / row.base, patches[row.patch], release[row.path])
        for row in rows
        if row.path not in packages
    ]
    rebuilt = rebuild(jobs, work, opened.delta.tools)
    return {job.row.path: path for job, path in zip(jobs, rebuilt, strict=True)}
