"""What a build would change: decided by the same functions, and nothing is fetched or written.

Where all archives are in the store, the very draft of the build is composed and compared with what is
published. Where some are not, a build would fetch them: then its packages and settings decide.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from repack.conda.rattler import is_older
from repack.conda.subdir import package_name
from repack.keys.keyring import KEYS_FILE
from repack.label.label import numbered_names, package_names
from repack.names import RelPath
from repack.progress import SILENT, Progress
from repack.prove.proof import Proof
from repack.release.checks import check_locks, check_watch
from repack.release.context import BuildContext
from repack.release.conversion import archives_needed, convert_packages
from repack.release.draft import compose_draft, inspect_packages
from repack.release.line import solve_label
from repack.release.outcome import Outcome, PlatformResult
from repack.release.own_packages import check_names, look_at_bundles
from repack.release.published import next_number, read_published, restored_release
from repack.release.signing_keys import read_signing_keys
from repack.report.changes import compare
from repack.report.history import earlier_releases
from repack.report.settings import compare_settings, describe_settings
from repack.trust.sign import UNSIGNED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.bundle.package import Bundled
    from repack.conda.record import Record
    from repack.release.draft import Draft
    from repack.report.document import SettingChange
    from repack.settings import Settings
    from repack.solve.solution import Solution
    from repack.trust.sign import Signing


def preview(name: str, settings: Settings, progress: Progress = SILENT) -> Outcome:
    """Say what :func:`repack.release.line.build` would change.

    Raises:
        RepackError: the label or its upstream is at fault, as a build would say.
    """
    began = time.monotonic()
    context = BuildContext.open(name, settings, progress)
    channels, label = context.channels, context.label
    solution = solve_label(context)
    published = read_published(channels, label.name)
    check_locks(solution, label)
    watched = check_watch(solution, label, published, channels)
    check_names(solution, label)
    bundles, signing = look_at_bundles(context), _existing_keys(context)
    draft = _draft(solution, bundles, signing, context)
    since = published.release if published else None
    earlier = earlier_releases(channels, label.name, since)
    old_paths = published.packages.keys() if published else set()
    records = _records(solution, draft)
    paths = {_path_in_channel(record, context) for record in records}
    paths |= {_path_of_bundle(bundle, context) for bundle in bundles}
    numbered = numbered_names(label.name)
    added = tuple(sorted(paths - old_paths))
    removed = tuple(sorted(p for p in old_paths - paths if package_name(p) not in numbered))
    changed = _setting_changes(earlier.settings, solution, bundles, signing, context)
    if draft is not None:
        would_change = published is None or not published.serves(draft)
    else:
        would_change = bool(published is None or added or removed or changed)
    number = next_number(channels, label.name, published)
    undone = restored_release(channels, label.name, published) if would_change else None
    if undone:
        watched = (*watched, f"release {undone} was restored; release {number} would undo that")
    own = numbered if draft is not None else package_names(label)
    old = [record for record in earlier.records if record.name not in own]
    platforms = (
        published.platform_results(draft)
        if published is not None and draft is not None and not would_change
        else _platforms(solution, bundles, draft, context)
    )
    return Outcome(
        label=label.name,
        state="previewed",
        release=since or 0,
        channel=str(channels.published(label.name)),
        platforms=platforms,
        added=added,
        removed=removed,
        since=since,
        differences=compare(old, records, is_older) if published else (),
        new_bytes=sum(r.size for r in records if _path_in_channel(r, context) not in old_paths),
        settings=changed if would_change else (),
        would_change=would_change,
        next_release=number if would_change else None,
        seconds=time.monotonic() - began,
        warnings=(*solution.warnings, *watched),
    )


def _existing_keys(context: BuildContext) -> Signing | None:
    """The keys that a build would sign with; None where it would make some first."""
    signing = context.label.signing
    folder = Path((signing and signing.keys) or Path("keys") / context.label.name)
    if signing is None and not (folder / KEYS_FILE).is_file():
        return UNSIGNED
    return read_signing_keys(context) if (folder / KEYS_FILE).is_file() else None


def _draft(
    solution: Solution,
    bundles: Sequence[Bundled],
    signing: Signing | None,
    context: BuildContext,
) -> Draft | None:
    """What a build would compare with the published release; None where it would fetch first."""
    records = [bundle.unchanged for bundle in bundles if bundle.unchanged is not None]
    if signing is None or len(records) < len(bundles) or any(solution.wheels.values()):
        return None
    needed = (*archives_needed(solution, context), *records)
    if not all(context.store.contains_record(record) for record in needed):
        return None
    if context.archive_format == ".tar.bz2":
        solution, _ = convert_packages(solution, needed[: len(needed) - len(records)], context)
    contents = inspect_packages(solution, tuple(records), context)
    return compose_draft(solution, contents, signing, context)


def _records(solution: Solution, draft: Draft | None) -> list[Record]:
    if draft is None:
        return list(solution.unique_records)
    return [package.record for package in draft.contents.items.values()]


def _setting_changes(
    before: Mapping[str, str],
    solution: Solution,
    bundles: Sequence[Bundled],
    signing: Signing | None,
    context: BuildContext,
) -> tuple[SettingChange, ...]:
    label = context.label
    start = f"{label.name}-"
    files = {
        (name := bundle.spec.name.removeprefix(start)): {
            member.path.removeprefix(f"share/repack/{label.name}/{name}/"): str(member.sha256)
            for member in bundle.spec.members
        }
        for bundle in bundles
        if bundle.spec.name.removeprefix(start) in label.bundles
    }
    modes = context.proof_modes(solution.requests)
    after = describe_settings(label, solution.requests, signing, modes, files)
    weaker = {
        name for name in after if name.startswith("proof of") and before.get(name) == "linked"
    }
    changes = compare_settings(before, after)
    return tuple(change for change in changes if change.what not in weaker)


def _platforms(
    solution: Solution, bundles: Sequence[Bundled], draft: Draft | None, context: BuildContext
) -> dict[str, PlatformResult]:
    """Counts as the build's: the bundles and the two packages with the release's number are in it."""
    modes, label = context.proof_modes(solution.requests), context.label
    results = {}
    groups = solution.records if draft is None else draft.contents.records_by_subdir
    for subdir, records in groups.items():
        own = 1 if any(record.name == label.name for record in records) else 2
        more = own if draft is not None else own + len(bundles)
        size = sum(record.size for record in records)
        results[subdir] = PlatformResult(len(records) + more, size, Proof(modes[subdir]))
    return results


def _path_in_channel(record: Record, context: BuildContext) -> RelPath:
    """Where a record's package will be in the channel, converted or not."""
    if context.label.package_format != "tar.bz2":
        return record.path
    return RelPath(f"{record.subdir}/{record.dist}.tar.bz2")


def _path_of_bundle(bundle: Bundled, context: BuildContext) -> RelPath:
    if bundle.unchanged is not None:
        return bundle.unchanged.path
    return RelPath(f"noarch/{bundle.spec.dist}{context.archive_format}")
