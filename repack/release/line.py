"""Label to release: the straight line, a step a line.

load label -> resolve -> fetch -> bundle -> index -> report -> sign -> stage -> prove -> publish

All from the fetch on stands in :mod:`repack.release.make`, which is imported while the solver
works: nobody waits for it then.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING

from msgspec.structs import replace

from repack.channel.folder import Channels
from repack.names import LabelName, RelPath
from repack.progress import SILENT, Progress
from repack.prove.proof import Proof
from repack.release.context import BuildContext
from repack.release.outcome import Outcome, PlatformResult
from repack.report import failures
from repack.solve.resolve import resolve
from repack.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from repack.conda.record import Record
    from repack.settings import Settings
    from repack.solve.solution import Solution


def build(name: str, settings: Settings, progress: Progress = SILENT) -> Outcome:
    """Build, prove and publish one label's channel.

    Raises:
        RepackError: whatever went wrong, by who must act; what was published before still is.
    """
    began = time.monotonic()
    channels, label = Channels(settings.channels_dir), LabelName(name)
    with channels.exclusive(label), failures.recording_failure(channels, label, settings.now):
        bench = BuildContext.open(name, settings, progress)
        with ThreadPoolExecutor(1) as aside:
            aside.submit(import_module, "repack.release.make")
            found = _resolve(bench)
        from repack.release.make import make_release

        outcome = make_release(found, bench)
    return replace(outcome, seconds=time.monotonic() - began)


def preview(name: str, settings: Settings, progress: Progress = SILENT) -> Outcome:
    """Say what :func:`build` would change; nothing is fetched or written but upstream's repodata.

    Raises:
        RepackError: the label or its upstream is at fault.
    """
    from repack.conda.subdir import package_name
    from repack.label.label import numbered_names
    from repack.release import own_packages
    from repack.release.published import read_published
    from repack.release.report import preview_changes

    began = time.monotonic()
    bench = BuildContext.open(name, settings, progress)
    found = _resolve(bench)
    before = read_published(bench.channels, bench.label.name)
    known, mine = (before.packages if before else {}), numbered_names(bench.label)
    modes = bench.modes(found.requests)
    new = {_published_path(record, bench) for record in found.unique_records}
    new |= own_packages.bundle_paths(bench)
    kept = {path for path in known if path in new or package_name(path) in mine}
    return Outcome(
        label=bench.label.name,
        state="previewed",
        release=before.release if before else 0,
        channel=str(bench.channels.published(bench.label.name)),
        platforms={
            subdir: PlatformResult(len(records), sum(r.size for r in records), Proof(modes[subdir]))
            for subdir, records in found.records.items()
        },
        added=tuple(sorted(new - known.keys())),
        removed=tuple(sorted(set(known) - kept)),
        since=before.release if before else None,
        differences=preview_changes(found, before, bench),
        new_bytes=sum(
            r.size for r in found.unique_records if _published_path(r, bench) not in known
        ),
        seconds=time.monotonic() - began,
        warnings=found.warnings,
    )


def restore(name: str, release: int, channels_dir: Path, store_dir: Path) -> Path:
    """Make a past release the published one again and return its folder.

    Raises:
        UsageError: that release is not kept.
        FetchError: the store has lost some of its packages.
    """
    from repack.channel.history import past_tree

    channels, label = Channels(channels_dir), LabelName(name)
    with channels.exclusive(label):
        tree = past_tree(channels, label, release, Store(store_dir))
        channels.stage(label, tree)
        channels.publish(label, tree)
    return channels.published(label)


def _published_path(record: Record, bench: BuildContext) -> RelPath:
    """Where a record's package will be in the channel, converted or not."""
    suffix = bench.archive if bench.label.package_format == "tar.bz2" else ""
    return RelPath(f"{record.subdir}/{record.dist}{suffix}") if suffix else record.path


def _resolve(bench: BuildContext) -> Solution:
    if bench.settings.env_file is not None:
        from repack.solve.from_environment import solution_of_environment

        return solution_of_environment(
            bench.settings.env_file, bench.label, bench.store, bench.progress
        )
    old = None if bench.settings.lock == "update" else bench.lock
    published = bench.channels.published(bench.label.name)
    return resolve(bench.label, old, published, bench.store, bench.progress)
