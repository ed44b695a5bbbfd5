"""Sync: bring a release to a folder so that its readers see a complete channel at any instant.

compare -> check room -> copy into a stage -> read back -> publish in order, with a pause before the
removals. Cut off anywhere, the next run continues from what is in the stage.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from repack.channel import manifest
from repack.channel.layout import MANIFEST, publish_rank
from repack.channel.publishing import publish_in_order
from repack.errors import IntegrityError, PlaceError, SpaceError, UsageError
from repack.fs import atomic, beneath
from repack.fs.inventory import intact_paths
from repack.fs.volume import volume
from repack.fs.walk import entries, read_or_none
from repack.progress import SILENT, Progress
from repack.sync.plan import SyncResult, check_destination, check_fits, make_plan
from repack.sync.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from repack.file_entry import FileEntry
    from repack.fs.volume import FileSystem
    from repack.sync.copy import Transport
    from repack.sync.plan import ReleaseFiles, SyncPlan
    from repack.sync.rsync import Rsync


class SyncOptions(Struct, frozen=True):
    """How to sync.

    Attributes:
        dry_run: only say what would be done.
        grace: seconds between the switch and the removals, for readers of the old repodata.
        file_system: behind the destination, where the system cannot say it.
        kept_paths: paths that are other releases' and not to be removed.
        same_medium: where the same bytes lie on the same medium already, by path. They are linked,
            or, where the medium has no links, left where they are.
        moved_to: where removed packages go because other channels on the medium look for them.
        extra_files: what else is going to be written there, to be counted.
    """

    dry_run: bool = False
    grace: float = 0.0
    file_system: FileSystem | None = None
    kept_paths: Collection[str] = ()
    same_medium: Mapping[str, Path] = field(default_factory=dict)
    moved_to: Mapping[str, Path] = field(default_factory=dict)
    extra_files: Collection[FileEntry] = ()
    progress: Progress = SILENT


def sync(files: ReleaseFiles, dest: Path, transport: Transport, options: SyncOptions) -> SyncResult:
    """Make the folder ``dest`` hold ``files`` and nothing else.

    Raises:
        UsageError: ``dest`` is another label's, or no channel at all.
        SpaceError: it does not fit; nothing was written if that could be known before.
        IntegrityError: a source is damaged, or ``dest`` does not hold what is written to it.
        PlaceError: ``dest`` cannot be written, or went away.
    """
    began = time.monotonic()
    if options.dry_run:
        plan = compare(files, dest, options)
    else:
        if not _check_destination(files, dest):
            compare(files, dest, options)  # before the folder is made
        staging = Staging(dest)
        with staging.alone(options.progress):
            plan = _stage(files, staging, transport, compare(files, dest, options), options)
            staging.publish(plan, options.moved_to, _grace(plan, options))
    took, dry_run = time.monotonic() - began, options.dry_run
    return SyncResult(files.label, files.release, str(dest), transport.name, plan, dry_run, took)


def compare(files: ReleaseFiles, dest: Path, options: SyncOptions) -> SyncPlan:
    """What there is to do at ``dest``; everything is checked that can be before the first byte.

    Raises as :func:`sync` does.
    """
    present = _check_destination(files, dest)
    same_size = [e for e in files.entries.values() if present.get(e.path) == e.size]
    with options.progress.phase("compare", sum(e.size for e in same_size), "bytes") as advance:
        intact = intact_paths(dest, same_size, advance)
    plan = make_plan(files, present, intact, options.kept_paths)
    room = volume(dest, options.file_system)
    room = replace(room, free=room.free + Staging(dest).staged_bytes())
    fresh = [entry for entry in plan.copy if entry.path not in options.same_medium]
    check_fits([*fresh, *options.extra_files], room, dest)
    return plan


def _check_destination(files: ReleaseFiles, dest: Path) -> dict[str, int]:
    """Bytes of every file at a destination that is ours to write to. Raises as :func:`sync` does."""
    beneath.guard(dest)
    present = _present_files(dest)
    check_destination(files, present, _label_of(read_or_none(dest / MANIFEST)), str(dest))
    return present


def _present_files(dest: Path) -> dict[str, int]:
    """Bytes of every file at a destination.

    Raises:
        UsageError: it is no folder.
        PlaceError: it cannot be read to the end, or holds what is no file: nothing is done then.
    """
    with atomic.os_errors_at(dest):
        if not beneath.exists(dest):
            return {}
        if not beneath.is_folder(dest):
            raise UsageError("not a folder", where=dest)
    present = dict(entries(dest, sizes=True))
    for path, entry in present.items():
        if entry.kind == "odd":
            raise PlaceError(
                "is a link, a pipe or a device, and a channel has none",
                where=dest / path,
                hint="look at what it is, remove it, and run again",
            )
    return {path: entry.size for path, entry in present.items()}


def _stage(
    files: ReleaseFiles,
    staging: Staging,
    transport: Transport,
    plan: SyncPlan,
    options: SyncOptions,
) -> SyncPlan:
    """Bring everything new into the stage, and read it back.

    Returns:
        ``plan`` without packages that stay where they are on the medium.
    """
    staging.open({entry.path for entry in plan.packages})
    elsewhere = {
        entry.path
        for entry in plan.packages
        if entry.path in options.same_medium
        and not staging.link(entry, options.same_medium[entry.path])
    }
    packages = tuple(entry for entry in plan.packages if entry.path not in elsewhere)
    plan = replace(plan, packages=packages)
    fresh = [entry for entry in packages if entry.path not in options.same_medium]
    with options.progress.phase("copy", sum(e.size for e in fresh), "bytes") as advance:
        transport.copy(fresh, staging.folder, advance)
    staging.write({entry.path: files.texts[entry.path] for entry in plan.texts})
    with options.progress.phase("verify", plan.bytes, "bytes") as advance:
        staging.read_back(plan.copy, advance)
    return plan


def sync_remote(files: ReleaseFiles, root: Path, rsync: Rsync, options: SyncOptions) -> SyncResult:
    """Make a place that only rsync reaches hold ``files``, which lie in the folder ``root``.

    Raises:
        UsageError: another label's channel stands there, or no channel at all.
        SpaceError: it does not fit, if that can be asked, or the disk there got full; readers see
            what they saw before.
        IntegrityError: what was sent does not arrive as it was.
        PlaceError: it cannot be written, or the connection broke.
    """
    began = time.monotonic()
    present = rsync.sizes()
    label = _label_of(rsync.fetch(MANIFEST) if MANIFEST in present else None)
    check_destination(files, present, label, rsync.where)
    # A package's name and size say what it is until the checksums are compared after sending; a
    # text changes under the same name and size, so texts are compared by checksum at once.
    intact = {e.path for e in files.packages.values() if present.get(e.path) == e.size}
    texts = [path for path in sorted(files.texts, key=publish_rank) if path in present]
    intact |= set(texts) - set(rsync.differing(root, texts))
    plan = make_plan(files, present, intact, options.kept_paths)
    _check_room(rsync, sum(entry.size for entry in plan.copy if entry.path not in present))
    if not options.dry_run:
        with options.progress.phase("copy", plan.bytes, "bytes") as advance:
            storage = _RsyncStorage(rsync, root, files, advance, options.progress)
            packages, texts = ([e.path for e in part] for part in (plan.packages, plan.texts))
            publish_in_order(storage, packages, texts, plan.remove, _grace(plan, options))
    took, dry_run = time.monotonic() - began, options.dry_run
    return SyncResult(files.label, files.release, rsync.where, "rsync", plan, dry_run, took)


class _RsyncStorage:
    """A remote folder as :class:`repack.channel.publishing.PublishedStorage`."""

    def __init__(
        self,
        rsync: Rsync,
        root: Path,
        files: ReleaseFiles,
        advance: Callable[[int], None],
        progress: Progress,
    ) -> None:
        self._rsync, self._root, self._files = rsync, root, files
        self._advance, self._progress = advance, progress

    def put_packages(self, paths: Sequence[str]) -> None:
        """Send packages, and check all of the release's, those that were there included."""
        self._rsync.send(self._root, paths, self._advance)
        self._check(sorted(self._files.packages))

    def put_metadata(self, paths: Sequence[str]) -> None:
        """Send metadata."""
        self._rsync.send(self._root, paths, self._advance)

    def switch(self, manifest: Sequence[str]) -> None:
        """Send the manifest, and check all metadata."""
        self._rsync.send(self._root, manifest, self._advance)
        self._check(sorted(self._files.texts, key=publish_rank))

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files there."""
        self._rsync.prune(paths, self._root)

    def _check(self, paths: Sequence[str]) -> None:
        """Compare checksums of both sides, and send again what was damaged on the way or there."""
        damaged = self._rsync.differing(self._root, paths)
        if not damaged:
            return
        self._progress.note(
            f"{len(damaged)} files there are not as they should be; sending them again"
        )
        self._rsync.send(self._root, damaged, lambda _count: None)
        if damaged := self._rsync.differing(self._root, damaged):
            raise IntegrityError(
                "what was sent cannot be read back as it was",
                where=self._rsync.where,
                got=", ".join(damaged[:5]),
                hint="run again; if it stays, the disk there is bad",
            )


def _check_room(rsync: Rsync, need: int) -> None:
    """Refuse before the first byte if there is no room for what is new."""
    free = rsync.room() if need else None
    if free is not None and free < need:
        raise SpaceError(
            "it does not fit; nothing was sent",
            where=rsync.where,
            expected=f"{need} bytes free",
            got=f"{free} bytes free",
        )


def _label_of(data: bytes | None) -> str | None:
    """The label that a manifest is of; None where there is none, or a damaged one."""
    try:
        return None if data is None else manifest.parse(data, MANIFEST).id
    except IntegrityError:
        return None


def _grace(plan: SyncPlan, options: SyncOptions) -> Callable[[], None]:
    """Wait for readers of the old repodata, if anything that it names is going to be removed."""

    def wait() -> None:
        if plan.remove and options.grace > 0:
            count, seconds = len(plan.remove), options.grace
            options.progress.note(f"waiting {seconds:g} s before {count} old files are removed")
            time.sleep(seconds)

    return wait
