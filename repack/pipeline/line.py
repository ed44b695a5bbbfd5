"""Label to release: the straight line, one line a step.

load label -> resolve -> fetch -> bundle -> index -> report -> sign -> stage -> prove -> publish

The report is among the signed files, so it is made before them; what it says of the proof holds
because nothing is published without it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from repack.model.account import policy_words
from repack.model.channel import check_names, package_name
from repack.model.delivery import Wishes
from repack.model.draft import Draft, artifacts, contents, moment, platforms
from repack.model.integrity import METADATA_DIR
from repack.model.names import LabelName, RelPath
from repack.model.outcome import Outcome, Platform, Proof
from repack.model.progress import SILENT, Progress
from repack.model.shipment import Shipment, check_same_content
from repack.pipeline import own
from repack.pipeline.bench import Bench
from repack.pipeline.intake import take_in
from repack.pipeline.proof import proved, reading
from repack.pipeline.told import Making, foreseen, told
from repack.places import failures
from repack.places.channel import Channels, Tree, read_or_none
from repack.places.files import write
from repack.places.lockfile import annotated
from repack.places.metadata_folder import newest, read_folder
from repack.places.solver import spec_name
from repack.places.store import Store
from repack.places.sync_scripts import sync_scripts
from repack.steps import release as releases
from repack.steps.describe import describe
from repack.steps.guard import judge, judge_licences, search_secrets
from repack.steps.index import index
from repack.steps.installers import InstallPlan, PlatformPlan, installers
from repack.steps.overview import write_page
from repack.steps.report import report
from repack.steps.resolve import resolve
from repack.steps.restore import past_tree
from repack.steps.sign import Contents, outlook, sign, verifier

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.model.draft import Standing
    from repack.model.found import Found
    from repack.model.outcome import State
    from repack.model.record import Record
    from repack.pipeline.bench import Settings
    from repack.steps.sign import Signing


def build(name: str, settings: Settings, progress: Progress = SILENT) -> Outcome:
    """Build, prove and publish one label's channel.

    Raises:
        RepackError: whatever went wrong, by who must act; what was published before still is.
    """
    began = time.monotonic()
    channels, label = Channels(settings.channels_dir), LabelName(name)
    with channels.exclusive(label), failures.remembered(channels, label, settings.now):
        bench = Bench.of(name, settings, progress)
        found = _resolve(bench)
        goods = take_in(found, bench)
        found = replace(
            found,
            lock=annotated(found.lock, map(str, goods.changes)),
            warnings=(*found.warnings, *goods.warnings),
        )
        keys = own.signing(bench)
        draft = _draft(found, goods.shipment, keys, bench)
        before = releases.standing(bench.channels, bench.label.name)
        if before is not None and before.serves(draft):
            outcome = _keep_standing(before, goods.shipment, bench)
        else:
            outcome = _release(found, draft, before, keys, bench)
    seconds = time.monotonic() - began
    return replace(
        outcome,
        bytes_fetched=goods.bytes,
        seconds=seconds,
        changes=goods.changes,
        warnings=(*found.warnings, *outcome.warnings),
    )


def preview(name: str, settings: Settings, progress: Progress = SILENT) -> Outcome:
    """Say what :func:`build` would change; nothing is fetched or written but upstream's repodata.

    Raises:
        RepackError: the label or its upstream is at fault.
    """
    began = time.monotonic()
    bench = Bench.of(name, settings, progress)
    found = _resolve(bench)
    before = releases.standing(bench.channels, bench.label.name)
    known, mine = (before.packages if before else {}), own.numbered_names(bench.label)
    modes = bench.modes(found.questions)
    new = {_published_path(record, bench) for record in found.distinct}
    new |= own.bundle_paths(bench)
    kept = {path for path in known if path in new or package_name(path) in mine}
    return Outcome(
        label=bench.label.name,
        state="previewed",
        release=before.release if before else 0,
        channel=str(bench.channels.published(bench.label.name)),
        platforms={
            subdir: Platform(len(records), sum(r.size for r in records), Proof(modes[subdir]))
            for subdir, records in found.records.items()
        },
        added=tuple(sorted(new - known.keys())),
        removed=tuple(sorted(set(known) - kept)),
        since=before.release if before else None,
        differences=foreseen(found, before, bench),
        new_bytes=sum(r.size for r in found.distinct if _published_path(r, bench) not in known),
        seconds=time.monotonic() - began,
        warnings=found.warnings,
    )


def restore(name: str, release: int, channels_dir: Path, store_dir: Path) -> Path:
    """Make a past release the published one again and return its folder.

    Raises:
        UsageError: that release is not kept.
        FetchError: the store has lost some of its packages.
    """
    channels, label = Channels(channels_dir), LabelName(name)
    with channels.exclusive(label):
        tree = past_tree(channels, label, release, Store(store_dir))
        channels.stage(label, tree)
        channels.publish(label, tree)
    return channels.published(label)


def _published_path(record: Record, bench: Bench) -> RelPath:
    """Where a record's package will be in the channel, converted or not."""
    suffix = bench.archive if bench.label.package_format == "tar.bz2" else ""
    return RelPath(f"{record.subdir}/{record.dist}{suffix}") if suffix else record.path


def _resolve(bench: Bench) -> Found:
    if bench.settings.env_file is not None:
        from repack.pipeline.given import harvested

        return harvested(bench.settings.env_file, bench)
    old = None if bench.settings.lock == "update" else bench.lock
    published = bench.channels.published(bench.label.name)
    return resolve(bench.label, old, published, bench.store, bench.progress)


def _draft(found: Found, shipment: Shipment, keys: Signing, bench: Bench) -> Draft:
    """All of the next release that does not depend on its number."""
    name = bench.label.name
    roots = {}
    for subdir, question in found.questions.items():
        named = {spec_name(spec) for spec in question.specs}
        roots[subdir] = tuple(
            record
            for record in shipment.installs[subdir]
            if record.name in named or record.name in own.names(bench.label)
        )
    texts = {
        **describe(name, found.lock, tuple(found.questions.values()), shipment),
        **installers(_plan(roots, shipment, bench)),
        **verifier(),
        **sync_scripts("repack/"),
    }
    return Draft(
        label=name,
        shipment=shipment,
        texts=texts,
        roots=roots,
        modes=bench.modes(found.questions),
        signers=keys.names,
        policy=policy_words(bench.label.licences, strict=bench.label.strict),
        wishes=Wishes.of_label(bench.label),
    )


def _plan(tops: Mapping[str, tuple[Record, ...]], shipment: Shipment, bench: Bench) -> InstallPlan:
    return InstallPlan(
        label=bench.label.name,
        package_format=bench.label.package_format,
        add_pip=bench.label.add_pip,
        platforms={
            subdir: PlatformPlan(
                specs=tuple(f"{r.name}={r.version}={r.build}" for r in tops[subdir]),
                packages=tuple(record.dist for record in records),
                reach=shipment.reach(subdir),
            )
            for subdir, records in shipment.installs.items()
        },
    )


def _keep_standing(before: Standing, shipment: Shipment, bench: Bench) -> Outcome:
    """Nothing new: leave the published release as it is, or put back what is damaged of it."""
    channels, name = bench.channels, bench.label.name
    state: State = "unchanged"
    if before.soundness == "unremembered":
        packages = frozenset(before.packages)
        channels.remember(name, before.release, releases.texts(channels, name, packages))
    elif before.soundness == "damaged":
        tree = past_tree(channels, name, before.release, bench.store)
        channels.stage(name, tree)
        channels.publish(name, tree)
        bench.progress.note(f"release {before.release} was damaged on disk; it is whole again")
        state = "repaired"
    return Outcome(
        label=name,
        state=state,
        release=before.release,
        channel=str(channels.published(name)),
        platforms=before.platforms(shipment, own.names(bench.label)),
        warnings=(
            *judge(shipment, bench.label),
            *outlook(read_folder(channels.published(name) / METADATA_DIR), bench.settings.now),
        ),
    )


def _release(
    found: Found, draft: Draft, before: Standing | None, keys: Signing, bench: Bench
) -> Outcome:
    """Make the draft a release: number it, sign it, prove it, publish it."""
    channels, name, now = bench.channels, bench.label.name, bench.settings.now
    warnings = (
        *judge(draft.shipment, bench.label),
        *judge_licences(draft.shipment, found.questions, own.names(bench.label), bench.label),
    )
    records = [item.record for item in draft.shipment.items.values()]
    check_same_content(releases.past_packages(channels, name), records)
    release = draft.release(releases.next_number(channels, name, before), moment(now))
    shipment, tops = own.add_release_packages(draft, release, keys, bench)
    texts = {**draft.texts, **installers(_plan(tops, shipment, bench)), **index(shipment)}
    making = Making(found, shipment, release, texts, keys, before, (*found.warnings, *warnings))
    account = told(making, bench)
    texts |= report(account)
    previous = newest(channels, name)
    texts |= sign(
        release, Contents(contents(shipment, texts), artifacts(shipment)), keys, previous, now
    )
    tree = Tree(_archives(shipment, bench), texts)
    check_names(tree.paths)
    search_secrets(tree.texts, tree.packages, _secrets(found, bench) | keys.secrets)
    staged = channels.stage(name, tree)
    with reading(draft.shipment, bench):
        proofs = proved(found, shipment, tops, staged, bench)
    if read_or_none(bench.lock) != found.lock:
        write(bench.lock, found.lock)
    channels.publish(name, tree)
    channels.remember(name, release.number, tree.texts)
    channels.forget(name, bench.label.keep_releases, release.number)
    write_page(channels)
    known = before.packages if before else {}
    return Outcome(
        label=name,
        state="published",
        release=release.number,
        channel=str(channels.published(name)),
        platforms=platforms(shipment, proofs),
        added=tuple(path for path in shipment.items if path not in known),
        removed=tuple(sorted(known.keys() - shipment.items.keys())),
        since=account.since,
        differences=account.changes,
        new_bytes=account.new_bytes,
        warnings=(*warnings, *outlook(_metadata(texts), now)),
    )


def _metadata(texts: Mapping[RelPath, bytes]) -> dict[str, bytes]:
    found = {path: data for path, data in texts.items() if path.startswith(f"{METADATA_DIR}/")}
    return {path.rpartition("/")[2]: data for path, data in found.items()}


def _secrets(found: Found, bench: Bench) -> frozenset[str]:
    return bench.label.secrets | found.secrets | bench.upstream.secrets()


def _archives(shipment: Shipment, bench: Bench) -> dict[RelPath, Path]:
    return {path: bench.store.path(i.record.sha256) for path, i in shipment.items.items()}
