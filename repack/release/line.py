"""The line: from a label to its published release, one step a line.

load label -> resolve -> fetch -> convert, bundle, inspect -> draft -> compare with what is
published -> number, index, report, sign -> stage -> prove -> publish

What only a new release needs is imported when it turns out that there will be one: most builds
change nothing, and half of their time would be spent on these imports.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from repack.channel.folder import Channels, DamagedPackagesError
from repack.errors import IntegrityError
from repack.names import LabelName
from repack.progress import SILENT, Progress
from repack.release.checks import check_locks, check_watch
from repack.release.context import BuildContext
from repack.release.conversion import archives_needed, convert_packages
from repack.release.draft import compose_draft, inspect_packages
from repack.release.own_packages import check_names, pack_bundles
from repack.release.published import keep_published, read_published, restored_release
from repack.release.reread import drop_damaged, heal_history, is_damaged, is_due, reread
from repack.release.signing_keys import read_signing_keys
from repack.report.failures import recording_failure
from repack.solve.resolve import Baseline, SolveContext, find_replaced, resolve
from repack.solve.wheels import WheelSettings
from repack.store.fetch import fetch
from repack.store.roots import register_channel
from repack.store.store import Store
from repack.store.write_behind import flushing

if TYPE_CHECKING:
    from pathlib import Path

    from repack.release.outcome import Outcome
    from repack.release.session import BuildSession
    from repack.settings import Settings
    from repack.solve.solution import Solution


def build(
    name: str,
    settings: Settings,
    progress: Progress = SILENT,
    session: BuildSession | None = None,
) -> Outcome:
    """Build, prove and publish one label's channel.

    Args:
        session: what builds in one process share.

    Raises:
        RepackError: whatever went wrong, by who must act; what was published before still is.
    """
    channels, label = Channels(settings.channels_dir), LabelName(name)
    with channels.exclusive(label), recording_failure(channels, label, settings.now):
        context = BuildContext.open(name, settings, progress, session)
        try:
            return _build_once(context)
        except IntegrityError as error:
            # Nothing was published. Where the store's own archives were damaged since they were
            # hashed, they are dropped and had anew; else the error stands.
            if not drop_damaged(error, context):
                raise
            progress.note(f"{error.what}: {error.got}; once more, without what was damaged")
            return _build_once(context)


def _build_once(context: BuildContext) -> Outcome:
    began = time.monotonic()
    channels, label, progress = context.channels, context.label.name, context.progress
    reads_everything = is_due(context)
    solution = solve_label(context)
    published = read_published(channels, label)
    restored = restored_release(channels, label, published)
    check_locks(solution, context.label)
    watched = check_watch(solution, context.label, published, channels)
    solution = with_wheels(solution, context)
    check_names(solution, context.label)
    with flushing(context.store) as write_behind:
        needed = archives_needed(solution, context)
        if reads_everything:
            reread((record.sha256 for record in needed), context.store)
        fetched = fetch(needed, context.store, context.upstream, progress, write_behind)
        solution, changes = convert_packages(solution, needed, context)
        contents = inspect_packages(solution, pack_bundles(context), context)
    draft = compose_draft(solution, contents, read_signing_keys(context), context)
    if published is not None and is_damaged(
        published.manifest, context, reads_everything=reads_everything
    ):
        published = replace(published, soundness="damaged")
    if published is not None and published.serves(draft) and published.is_whole_in(context.store):
        outcome = keep_published(published, draft, context)
    else:
        from repack.release.new_release import compose_release, prove_release, publish_release

        release = compose_release(draft, published, context)
        with channels.staged(label, release.tree) as staged:
            proofs = prove_release(release, staged, context)
            publish_release(release, context)
        outcome = release.outcome(proofs, context)
        if restored is not None:
            what = f"release {restored} had been restored; this release undoes that"
            outcome = replace(outcome, warnings=(what, *outcome.warnings))
    warnings = heal_history(context)
    # Last, so that a channel that was never published cannot be missing. Until then its
    # archives are too young for any sweep.
    register_channel(context.store, channels.published(label))
    return replace(
        outcome,
        bytes_fetched=fetched.bytes,
        changes=changes,
        archives="read" if reads_everything or outcome.state != "unchanged" else "believed",
        warnings=(*draft.solution.warnings, *watched, *outcome.warnings, *warnings),
        seconds=time.monotonic() - began,
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
        store = Store(store_dir)
        tree = past_tree(channels, label, release, store)
        try:
            channels.stage(label, tree)
        except DamagedPackagesError as error:
            # Dropped, so that the next build of the label fetches them anew.
            reread(error.digests, store)
            raise
        channels.publish(label, tree)
        register_channel(store, channels.published(label))
    return channels.published(label)


def with_wheels(solution: Solution, context: BuildContext) -> Solution:
    """The solution with its wheels as packages; most have none and pay for no import."""
    if not any(solution.wheels.values()):
        return solution
    from repack.release.wheels import with_wheel_packages

    return with_wheel_packages(solution, context)


def solve_label(context: BuildContext) -> Solution:
    """What the label resolves to; raises as :func:`build` does."""
    settings, label, store = context.settings, context.label, context.store
    published = context.channels.published(label.name)
    baseline = Baseline(context.lock, published, is_kept=settings.lock != "update")
    wheels = WheelSettings(settings.environment, settings.home, store.root / "uv")
    solving = SolveContext(store, context.session.repodata, context.progress, wheels)
    if settings.env_file is not None:
        from repack.solve.from_environment import solution_of_environment

        solution = solution_of_environment(label, settings, baseline, solving)
    else:
        solution = resolve(label, baseline, solving)
        if settings.refresh == "hotfixes":
            from repack.solve.refresh import with_hotfixes

            solution = with_hotfixes(solution, label, solving)
    replaced = find_replaced(solution, baseline)
    return replace(solution, replaced=replaced, warnings=(*solution.warnings, *replaced))
