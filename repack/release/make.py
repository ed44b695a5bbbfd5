"""The second half of the line: from the records that were found to the published release.

The report is among the signed files, so it is made before them; what it says of the proof holds
because nothing is published without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from repack.channel import history
from repack.channel.contents import ChannelContents, check_same_content
from repack.channel.folder import ChannelTree
from repack.channel.history import past_tree
from repack.channel.index import index
from repack.channel.install_plan import TargetPolicy
from repack.channel.layout import METADATA_DIR, check_names
from repack.channel.metadata_folder import newest, read_folder
from repack.channel.scripts import InstallerPlan, PlatformPlan, installers, sync_scripts, verifier
from repack.conda.match_spec import spec_name
from repack.fs.atomic import write
from repack.fs.walk import read_or_none
from repack.label import label
from repack.prove.channel import prove_channel, reading_archives
from repack.release import own_packages, signing_keys
from repack.release import published as releases
from repack.release.checks import check_licences, check_scripts, search_secrets
from repack.release.describe import describe
from repack.release.draft import Draft, artifacts, contents, platforms
from repack.release.intake import take_in
from repack.release.outcome import Outcome
from repack.release.report import Making, compose_build_report
from repack.report.compose import policy_words
from repack.report.overview import write_page
from repack.report.render import render_report
from repack.solve.lockfile import annotated
from repack.timestamps import stamp
from repack.trust.sign import Contents, outlook, sign

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.conda.record import Record
    from repack.names import RelPath
    from repack.release.context import BuildContext
    from repack.release.draft import PublishedRelease
    from repack.release.outcome import State
    from repack.solve.solution import Solution
    from repack.trust.sign import Signing


def make_release(found: Solution, bench: BuildContext) -> Outcome:
    """Fetch, index, report, sign, prove and publish what a label resolved to.

    Raises:
        RepackError: whatever went wrong, by who must act; what was published before still is.
    """
    goods = take_in(found, bench)
    found = replace(
        found,
        lock=annotated(found.lock, map(str, goods.changes)),
        warnings=(*found.warnings, *goods.warnings),
    )
    keys = signing_keys.signing(bench)
    draft = _draft(found, goods.shipment, keys, bench)
    before = releases.read_published(bench.channels, bench.label.name)
    if before is not None and before.serves(draft):
        outcome = _keep_standing(before, goods.shipment, bench)
    else:
        outcome = _release(found, draft, before, keys, bench)
    return replace(
        outcome,
        bytes_fetched=goods.bytes,
        changes=goods.changes,
        warnings=(*found.warnings, *outcome.warnings),
    )


def _draft(found: Solution, shipment: ChannelContents, keys: Signing, bench: BuildContext) -> Draft:
    """All of the next release that does not depend on its number."""
    name = bench.label.name
    roots = {}
    for subdir, question in found.requests.items():
        named = {spec_name(spec) for spec in question.specs}
        roots[subdir] = tuple(
            record
            for record in shipment.records_by_subdir[subdir]
            if record.name in named or record.name in label.names(bench.label)
        )
    texts = {
        **describe(name, found.lock, tuple(found.requests.values()), shipment),
        **installers(_plan(roots, shipment, bench)),
        **verifier(),
        **sync_scripts("repack/"),
    }
    return Draft(
        label=name,
        shipment=shipment,
        texts=texts,
        roots=roots,
        modes=bench.modes(found.requests),
        signers=keys.names,
        policy=policy_words(bench.label.licences, strict=bench.label.strict),
        wishes=TargetPolicy.of_label(bench.label),
    )


def _plan(
    tops: Mapping[str, tuple[Record, ...]], shipment: ChannelContents, bench: BuildContext
) -> InstallerPlan:
    return InstallerPlan(
        label=bench.label.name,
        package_format=bench.label.package_format,
        add_pip=bench.label.add_pip,
        platforms={
            subdir: PlatformPlan(
                specs=tuple(f"{r.name}={r.version}={r.build}" for r in tops[subdir]),
                packages=tuple(record.dist for record in records),
                reach=shipment.reach(subdir),
            )
            for subdir, records in shipment.records_by_subdir.items()
        },
    )


def _keep_standing(
    before: PublishedRelease, shipment: ChannelContents, bench: BuildContext
) -> Outcome:
    """Nothing new: leave the published release as it is, or put back what is damaged of it."""
    channels, name = bench.channels, bench.label.name
    state: State = "unchanged"
    if before.soundness == "unremembered":
        packages = frozenset(before.packages)
        channels.remember(name, before.release, history.texts(channels, name, packages))
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
        platforms=before.platforms(shipment, label.names(bench.label)),
        warnings=(
            *check_scripts(shipment, bench.label),
            *outlook(read_folder(channels.published(name) / METADATA_DIR), bench.settings.now),
        ),
    )


def _release(
    found: Solution,
    draft: Draft,
    before: PublishedRelease | None,
    keys: Signing,
    bench: BuildContext,
) -> Outcome:
    """Make the draft a release: number it, sign it, prove it, publish it."""
    channels, name, now = bench.channels, bench.label.name, bench.settings.now
    warnings = (
        *check_scripts(draft.shipment, bench.label),
        *check_licences(draft.shipment, found.requests, label.names(bench.label), bench.label),
    )
    records = [item.record for item in draft.shipment.items.values()]
    check_same_content(history.past_packages(channels, name), records)
    release = draft.release(releases.next_number(channels, name, before), stamp(now))
    shipment, tops = own_packages.add_release_packages(draft, release, keys, bench)
    texts = {**draft.texts, **installers(_plan(tops, shipment, bench)), **index(shipment)}
    making = Making(found, shipment, release, texts, keys, before, (*found.warnings, *warnings))
    account = compose_build_report(making, bench)
    texts |= render_report(account)
    previous = newest(channels, name)
    texts |= sign(
        release, Contents(contents(shipment, texts), artifacts(shipment)), keys, previous, now
    )
    tree = ChannelTree(_archives(shipment, bench), texts)
    check_names(tree.paths)
    search_secrets(tree.texts, tree.packages, _secrets(found, bench) | keys.secrets)
    staged = channels.stage(name, tree)
    context = bench.proof(found.requests)
    with reading_archives(draft.shipment, context):
        proofs = prove_channel(found, shipment, tops, staged, context)
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


def _secrets(found: Solution, bench: BuildContext) -> frozenset[str]:
    return bench.label.secrets | found.secrets | bench.upstream.secrets()


def _archives(shipment: ChannelContents, bench: BuildContext) -> dict[RelPath, Path]:
    return {path: bench.store.path(i.record.sha256) for path, i in shipment.items.items()}
