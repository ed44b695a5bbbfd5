"""Sync: bring a release to a folder so that its readers see a complete channel at any instant.

look -> check room -> copy into a stage -> read back -> packages -> texts -> grace -> removals

Cut off anywhere, the next run goes on from what is in the stage.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from repack.channel.layout import MANIFEST, publish_rank
from repack.errors import IntegrityError, SpaceError, UsageError
from repack.fs.inventory import intact_paths
from repack.fs.volume import volume
from repack.fs.walk import sizes
from repack.progress import SILENT, Progress
from repack.sync.plan import SyncResult, check_destination, check_fits, plan
from repack.sync.staging import Staging, label_at, label_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from repack.file_entry import FileEntry
    from repack.fs.volume import FileSystem
    from repack.sync.copy import Transport
    from repack.sync.plan import ReleaseFiles, SyncPlan
    from repack.sync.rsync import Rsync


class SyncOptions(Struct, frozen=True):
    """How to deliver.

    Attributes:
        dry_run: only say what would be done.
        grace: seconds between the switch and the removals, for readers of the old repodata.
        kind: the file system behind the destination, where the system cannot say it.
        stays: paths that are other releases' and not to be removed.
        nearby: where the same bytes lie on the same medium already, by path. They are linked, or,
            where the medium has no links, left where they are.
        moved_to: where removed packages go because other channels on the medium look for them.
        beside: what else is going to be written there, to be counted.
    """

    dry_run: bool = False
    grace: float = 0.0
    kind: FileSystem | None = None
    stays: Collection[str] = ()
    nearby: Mapping[str, Path] = field(default_factory=dict)
    moved_to: Mapping[str, Path] = field(default_factory=dict)
    beside: Collection[FileEntry] = ()
    progress: Progress = SILENT


def sync(cargo: ReleaseFiles, dest: Path, carrier: Transport, terms: SyncOptions) -> SyncResult:
    """Make the folder ``dest`` hold ``cargo`` and nothing else.

    Raises:
        UsageError: ``dest`` is another label's, or no channel at all.
        SpaceError: it does not fit; nothing was written if that could be known before.
        IntegrityError: a source is damaged, or ``dest`` does not hold what is written to it.
        PlaceError: ``dest`` cannot be written, or went away.
    """
    began = time.monotonic()
    work = look(cargo, dest, terms)
    if not terms.dry_run:
        stage = Staging(dest)
        work = _bring(cargo, stage, carrier, work, terms)
        stage.leave(work, cargo)
        wait(work, terms)
        stage.close(work.remove, terms.moved_to)
    took = time.monotonic() - began
    return SyncResult(
        cargo.label, cargo.release, str(dest), carrier.name, work, terms.dry_run, took
    )


def look(cargo: ReleaseFiles, dest: Path, terms: SyncOptions) -> SyncPlan:
    """What there is to do at ``dest``; everything is checked that can be before the first byte.

    Raises as :func:`sync` does.
    """
    if dest.exists() and not dest.is_dir():
        raise UsageError("not a folder", where=dest)
    there = sizes(dest) if dest.is_dir() else {}
    check_destination(cargo, there, label_at(dest), str(dest))
    same = [piece for piece in cargo.pieces.values() if there.get(piece.path) == piece.size]
    with terms.progress.phase("compare", sum(piece.size for piece in same), "bytes") as done:
        work = plan(cargo, there, intact_paths(dest, same, done), terms.stays)
    room = volume(dest, terms.kind)
    fresh = [piece for piece in work.copy if piece.path not in terms.nearby]
    check_fits(
        [*fresh, *terms.beside], replace(room, free=room.free + Staging(dest).staged_bytes()), dest
    )
    return work


def _bring(
    cargo: ReleaseFiles, stage: Staging, carrier: Transport, work: SyncPlan, terms: SyncOptions
) -> SyncPlan:
    """Everything new into the stage, and read back; the work without what lies elsewhere."""
    packages = [piece for piece in work.copy if piece.path in cargo.packages]
    stage.open({piece.path for piece in packages})
    near = [piece for piece in packages if piece.path in terms.nearby]
    far = [piece for piece in packages if piece.path not in terms.nearby]
    apart = {p.path for p in near if not stage.link(p, terms.nearby[p.path])}
    work = replace(work, copy=tuple(piece for piece in work.copy if piece.path not in apart))
    with terms.progress.phase("copy", sum(piece.size for piece in far), "bytes") as done:
        carrier.bring(far, stage.folder, done)
    stage.write({p.path: cargo.texts[p.path] for p in work.copy if p.path in cargo.texts})
    with terms.progress.phase("verify", work.bytes, "bytes") as done:
        stage.read_back(work.copy, done)
    return work


def sync_afar(cargo: ReleaseFiles, root: Path, rsync: Rsync, terms: SyncOptions) -> SyncResult:
    """Make a place that only rsync reaches hold ``cargo``, which lies in the folder ``root``.

    Raises:
        UsageError: another label's channel stands there, or no channel at all.
        SpaceError: it does not fit, if that can be asked, or the disk there got full; readers see
            what they saw before.
        IntegrityError: what was sent does not arrive as it was.
        PlaceError: it cannot be written, or the connection broke.
    """
    began = time.monotonic()
    there = rsync.sizes()
    found = None
    if MANIFEST in there:
        found = label_of(rsync.fetch(MANIFEST))
    check_destination(cargo, there, found, rsync.where)
    same = {piece.path for piece in cargo.packages.values() if there.get(piece.path) == piece.size}
    texts = sorted(cargo.texts, key=publish_rank)
    stale = set(rsync.differing(root, [path for path in texts if path in there]))
    same |= {path for path in texts if path in there and path not in stale}
    work = plan(cargo, there, same, terms.stays)
    _check_room(rsync, sum(p.size for p in work.copy if p.path not in there))
    if not terms.dry_run:
        with terms.progress.phase("copy", work.bytes, "bytes") as done:
            packages = [piece.path for piece in work.copy if piece.path in cargo.packages]
            rsync.send(root, packages, done)
            _settle(rsync, root, sorted(cargo.packages), terms.progress)
            for rank in (1, 2, 3):
                group = [path for path in texts if publish_rank(path)[0] == rank]
                rsync.send(root, group, done)
        _settle(rsync, root, texts, terms.progress)
        wait(work, terms)
        rsync.prune(work.remove, root)
    took = time.monotonic() - began
    return SyncResult(cargo.label, cargo.release, rsync.where, "rsync", work, terms.dry_run, took)


def _check_room(rsync: Rsync, need: int) -> None:
    """Say it before the first byte if there is no room for what is new."""
    free = rsync.room() if need else None
    if free is not None and free < need:
        raise SpaceError(
            "it does not fit; nothing was sent",
            where=rsync.where,
            expected=f"{need} bytes free",
            got=f"{free} bytes free",
        )


def _settle(rsync: Rsync, root: Path, paths: Sequence[str], progress: Progress) -> None:
    """Compare checksums of both sides, and send again what was damaged on the way or there."""
    bad = rsync.differing(root, paths)
    if not bad:
        return
    progress.note(f"{len(bad)} files there are not as they should be; sending them again")
    rsync.send(root, bad, lambda _count: None)
    if bad := rsync.differing(root, bad):
        raise IntegrityError(
            "what was sent cannot be read back as it was",
            where=rsync.where,
            got=", ".join(bad[:5]),
            hint="run again; if it stays, the disk there is bad",
        )


def wait(work: SyncPlan, terms: SyncOptions) -> None:
    """Let readers of the old repodata finish, if anything of theirs is going to go."""
    if work.remove and terms.grace > 0:
        seconds = f"{terms.grace:g} s"
        terms.progress.note(f"waiting {seconds} before {len(work.remove)} old files are removed")
        time.sleep(terms.grace)
