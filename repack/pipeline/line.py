"""Label to release: the straight line, one line a step.

load label -> resolve -> fetch -> bundle -> stage -> index -> sign -> prove -> publish -> report
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from repack.errors import ProofError
from repack.model.channel import NOARCH, check_names
from repack.model.draft import Draft, artifacts, platforms
from repack.model.integrity import Entry, entry_of
from repack.model.names import LabelName
from repack.model.outcome import Outcome
from repack.model.progress import SILENT, Progress
from repack.model.shipment import Shipment, check_same_content
from repack.pipeline import own
from repack.pipeline.bench import Bench, Settings
from repack.places import sandbox
from repack.places.channel import Channels, Tree
from repack.places.files import write
from repack.places.solver import spec_name
from repack.places.store import Store
from repack.steps import release as releases
from repack.steps.describe import describe
from repack.steps.fetch import fetch
from repack.steps.guard import search_secrets
from repack.steps.index import index
from repack.steps.inspect import inspect
from repack.steps.prove import Scratch, prove
from repack.steps.resolve import resolve
from repack.steps.restore import past_tree
from repack.steps.sign import Contents, Signing, sign

if TYPE_CHECKING:
    from pathlib import Path

    from repack.model.archive import Depth
    from repack.model.draft import Standing
    from repack.model.found import Found
    from repack.model.outcome import State
    from repack.model.record import Record


def build(name: str, settings: Settings, progress: Progress = SILENT) -> Outcome:
    """Build, prove and publish one label's channel.

    Raises:
        RepackError: whatever went wrong, by who must act; what was published before still is.
    """
    began = time.monotonic()
    with Channels(settings.channels_dir).exclusive(LabelName(name)):
        bench = Bench.of(name, settings, progress)
        found = _resolve(bench)
        fetched = fetch(found.distinct, bench.store, bench.upstream, progress)
        shipment = _take_in(found, bench)
        keys = own.signing(bench)
        draft = _draft(found, shipment, keys, bench)
        before = releases.standing(bench.channels, bench.label.name)
        outcome = _bring_about(found, draft, before, keys, bench)
    seconds = time.monotonic() - began
    return replace(outcome, bytes_fetched=fetched.bytes, seconds=seconds)


def preview(name: str, settings: Settings, progress: Progress = SILENT) -> Outcome:
    """Say what :func:`build` would change; nothing is fetched or written but upstream's repodata.

    Raises:
        RepackError: the label or its upstream is at fault.
    """
    began = time.monotonic()
    bench = Bench.of(name, settings, progress)
    found = _resolve(bench)
    before = releases.standing(bench.channels, bench.label.name)
    ...


def _resolve(bench: Bench) -> Found:
    old = None if bench.settings.lock == "update" else bench.lock
    return resolve(bench.label, old, bench.store, bench.progress)


def _take_in(found: Found, bench: Bench) -> Shipment:
    """All packages but those that carry the release's number, each looked into once ever."""
    here = {NOARCH, sandbox.host_subdir()}
    deep = bench.settings.prove == "linked"

    def depth(record: Record) -> Depth:
        return "whole" if deep or record.subdir not in here else "info"

    bundles = own.bundles(bench)
    wanted = [(record, depth(record)) for record in found.distinct]
    wanted += [(record, "info") for record in bundles]
    facts = inspect(wanted, bench.store, "sha384", bench.progress)
    return Shipment.of(found.records, facts).with_own(bundles, facts)


def _draft(found: Found, shipment: Shipment, keys: Signing, bench: Bench) -> Draft:
    name = bench.label.name
    named = {
        subdir: {spec_name(spec) for spec in question.specs}
        for subdir, question in found.questions.items()
    }
    roots = {
        subdir: tuple(
            r for r in records if r.name in named[subdir] or r.name.startswith(f"{name}-")
        )
        for subdir, records in shipment.installs.items()
    }
    texts = describe(name, found, shipment.installs)
    modes = bench.modes(found.questions)
    return Draft(name, shipment, texts, roots, modes, keys.names)


def _bring_about(
    found: Found, draft: Draft, before: Standing | None, keys: Signing, bench: Bench
) -> Outcome:
    """Make the published channel be ``draft``: nothing to do, a repair, or a new release."""
    channels, name = bench.channels, bench.label.name
    if before is not None and before.serves(draft):
        return _keep_standing(draft, before, bench)
    number = releases.next_number(channels, name, before)
    release = draft.release(number, bench.settings.now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    shipment = own.add_release_packages(draft, release, keys, bench)
    tree = _tree(...)
    ...
