"""The lines of deltas: make one from two releases, apply one to a channel.

create: both releases' trees -> patches that pay -> one signed file
apply: admit -> renew -> stage -> verify -> publish
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.channel import manifest as manifests
from repack.channel.folder import Channels, ChannelTree
from repack.channel.layout import MANIFEST_PATH, METADATA_DIR, check_names
from repack.delta import file as delta_file
from repack.delta.file import Texts
from repack.delta.manifest import is_archive, is_text
from repack.delta.rebuild import RebuildJob, rebuild
from repack.errors import (
    IntegrityError,
    MetadataExpiredError,
    RepackError,
    SignatureError,
    SpaceError,
)
from repack.fs import atomic
from repack.fs.inventory import intact_paths
from repack.progress import SILENT, Progress
from repack.verify.verdict import Requirements
from repack.verify.verify import verify

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from contextlib import AbstractContextManager
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
        standing = BaseChannel.of(folder)
        try:
            with delta_file.opened(file) as opened:
                check_base(standing, opened, key)
                work = channels.work(name) / opened.sha256
                renewed = assemble(standing, opened, work, progress)
            staged = channels.stage(name, renewed.tree)
            demand = Requirements(key=key, root=root_of(standing))
            verdict = verify(staged, demand, now, renewed.known)
            verdict = _sound(verdict, channels.unstaged(name, renewed.tree), standing)
        except RepackError:
            # A killed run leaves what it made to the next one; a refused one leaves nothing.
            channels.discard(name)
            atomic.remove(channels.work(name))
            raise
        channels.publish(name, renewed.tree)
        atomic.remove(channels.work(name))
    channels.tidy()
    return DeltaApplied(folder, standing.manifest.version, verdict)


def _sound(verdict: Verdict, known: frozenset[str], standing: BaseChannel) -> Verdict:
    """The verdict on what is staged, if it may be published; ``known`` lies there already."""
    late = [one for one in verdict.refusals if isinstance(one, MetadataExpiredError)]
    for refusal in verdict.refusals:
        if refusal not in late:
            raise refusal
    wrong = [one for one in verdict.findings if one.kind != "missing" or one.path not in known]
    if wrong:
        raise IntegrityError(
            f"what the delta makes is no sound channel: {len(wrong)} findings",
            where=standing.folder,
            got=str(wrong[0]),
        )
    # Whether metadata is still in time is for targets to judge; the copy is as good as it was.
    return replace(
        verdict,
        refusals=[],
        findings=[],
        warnings=[*verdict.warnings, *(error.text() for error in late)],
        files=verdict.files + len(known),
        bytes=verdict.bytes + sum(a.size for a in standing.manifest.artifacts if a.path in known),
    )


class BaseChannel(Struct, frozen=True):
    """The channel a delta is applied to."""

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
        data = atomic.read(path, manifests.MAX_BYTES)
        return cls(folder, manifests.parse(data, path), hashlib.sha256(data).hexdigest())

    @property
    def name(self) -> str:
        """As in ``base_id``."""
        return f"{self.manifest.id}@{self.manifest.version}"


def check_base(standing: BaseChannel, opened: DeltaFile, key: SharedKey | None) -> None:
    """See that the delta is for this channel, and by whom it was meant to be from.

    Raises:
        IntegrityError: it is for another label, or another release; says which one is needed.
        SignatureError: its signature is missing or wrong.
    """
    manifest, delta = opened.manifest, opened.delta
    if key is not None:
        manifest.check(key, opened.path)
    elif manifest.signature is None and standing.manifest.signature is not None:
        raise SignatureError(
            "the delta is not signed, but the channel is", where=opened.path,
            hint="take a delta from who built the channel",
        )  # fmt: skip
    if manifest.id != standing.manifest.id:
        raise IntegrityError(
            "the delta is for another label",
            where=opened.path,
            expected=standing.manifest.id,
            got=manifest.id,
        )
    if standing.pin not in {delta.base.manifest, delta.target.manifest}:
        base, now = f"{manifest.id}@{delta.base.release}", standing.name
        raise IntegrityError(
            f"the delta needs {base}, and the channel is {now}"
            if base != now
            else f"the delta needs another {base} than the one that stands here",
            where=standing.folder,
            expected=f"{base}, manifest sha256 {delta.base.manifest}",
            got=f"{now}, manifest sha256 {standing.pin}",
            hint=f"have a delta made: repack delta create {manifest.id} --from"
            f" {standing.manifest.version} --to {manifest.version}",
        )


class AssembledChannel(Struct, frozen=True):
    """Everything the channel will hold, and of its packages what was hashed."""

    tree: ChannelTree
    known: Mapping[RelPath, FileEntry]


def assemble(
    standing: BaseChannel, opened: DeltaFile, work: Path, progress: Progress = SILENT
) -> AssembledChannel:
    """Everything the channel will hold; packages that stay are taken where they lie.

    Args:
        work: for what is made, this delta's alone; its parent is swept.

    Raises:
        IntegrityError: the delta is damaged, or the channel is not what its manifest says.
        SpaceError: there is not room enough; checked before the first byte.
        PlaceError: a file cannot be read or written.
    """
    _check_space(opened, work)
    texts = _unpack(opened, work, progress)
    if hashlib.sha256(texts.get(MANIFEST_PATH, b"")).hexdigest() != opened.delta.target.manifest:
        raise IntegrityError("the delta brings another manifest than it names", where=opened.path)
    target = manifests.parse(texts[MANIFEST_PATH], MANIFEST_PATH)
    entries = target.packages
    wanted = {path: entry.sha256 for path, entry in entries.items()}
    if odd := [path for path in wanted if not is_archive(path)]:
        raise IntegrityError("the release has an artifact that is no package", got=odd[0])
    packages = _standing(standing, entries.values(), progress)
    packages |= _carried(opened, wanted, work, packages)
    packages |= _make(standing, opened, wanted, packages, work)
    if gone := sorted(wanted.keys() - packages.keys()):
        raise IntegrityError(
            f"{len(gone)} packages of the channel are missing or damaged",
            where=standing.folder,
            got=", ".join(gone[:5]),
            hint="copy the channel again; a delta needs the whole of its base",
        )
    tree = ChannelTree(packages, texts)
    check_names(tree.paths)
    return AssembledChannel(tree, entries)


def root_of(standing: BaseChannel) -> bytes | None:
    """The first root the channel has, to hold the new metadata against; None when it has none."""
    path = standing.folder / METADATA_DIR / "1.root.json"
    return atomic.read(path, manifests.MAX_BYTES) if path.is_file() else None


def _check_space(opened: DeltaFile, work: Path) -> None:
    need = sum(a.size for a in opened.manifest.artifacts)
    need += 2 * max((one.unpacked for one in opened.delta.patches), default=0) + _SLACK
    with atomic.os_errors_at(work):
        work.mkdir(parents=True, exist_ok=True)
        for other in work.parent.iterdir():
            if other != work:  # left by another delta, which was never applied to its end
                atomic.remove(other)
        free = shutil.disk_usage(work).free
    if free < need:
        raise SpaceError(
            "there is not room enough for the delta",
            where=work,
            expected=f"{need} bytes",
            got=f"{free} bytes",
        )


def _unpack(opened: DeltaFile, work: Path, progress: Progress) -> dict[RelPath, bytes]:
    """Lay the members out in the work folder, metadata in memory."""
    texts = Texts()
    size = sum(a.size for a in opened.manifest.artifacts)
    with progress.phase(f"read {opened.path.name}", size, "bytes") as advance:

        def take(artifact: Artifact) -> AbstractContextManager[Sink]:
            advance(artifact.size)
            if is_text(artifact):
                return texts.take(artifact.path)
            return _filing(work / artifact.entry.sha256)

        opened.members(take)
    return texts.found


@contextlib.contextmanager
def _filing(path: Path) -> Iterator[Sink]:
    with atomic.writing(path) as out:
        yield out


def _standing(
    standing: BaseChannel, entries: Collection[FileEntry], progress: Progress
) -> dict[RelPath, Path]:
    """The packages that are in the channel already, and right."""
    there = [entry for entry in entries if (standing.folder / entry.path).is_file()]
    with progress.phase("check", sum(entry.size for entry in there), "bytes") as advance:
        paths = intact_paths(standing.folder, there, advance)
    return {path: standing.folder / path for path in paths}


def _carried(
    opened: DeltaFile,
    wanted: Mapping[RelPath, Digest],
    work: Path,
    packages: Mapping[RelPath, Path],
) -> dict[RelPath, Path]:
    found = {}
    for artifact in opened.manifest.artifacts:
        if artifact.type != "full" or is_text(artifact):
            continue
        if wanted.get(artifact.path) != artifact.sha256:
            raise IntegrityError(
                "the delta carries a package that the release does not have", got=artifact.path
            )
        if artifact.path not in packages:
            found[artifact.path] = work / artifact.entry.sha256
    return found


def _make(
    standing: BaseChannel,
    opened: DeltaFile,
    wanted: Mapping[RelPath, Digest],
    packages: Mapping[RelPath, Path],
    work: Path,
) -> dict[RelPath, Path]:
    """Make the packages that came as patches."""
    patches = {a.path: work / a.entry.sha256 for a in opened.manifest.artifacts if a.type == "diff"}
    rows = opened.delta.patches
    if odd := [row.path for row in rows if row.path not in wanted]:
        raise IntegrityError(
            "the delta patches a package that the release does not have", got=odd[0]
        )
    due = [
        RebuildJob(row, standing.folder / row.base, patches[row.patch], wanted[row.path])
        for row in rows
        if row.path not in packages
    ]
    return dict(
        zip((one.row.path for one in due), rebuild(due, work, opened.delta.tools), strict=True)
    )
