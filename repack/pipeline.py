"""Label to release: the straight line, one line a step.

load label -> resolve -> fetch -> bundle -> stage -> index -> sign -> prove -> publish -> report
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from repack.errors import ProofError
from repack.model.channel import NOARCH
from repack.model.draft import Draft
from repack.model.names import LabelName
from repack.model.outcome import Outcome
from repack.model.progress import SILENT, Progress
from repack.model.shipment import Shipment, check_same_content
from repack.places import labels, sandbox
from repack.places.channel import Channels
from repack.places.files import write
from repack.places.solver import spec_fault
from repack.places.store import Store
from repack.places.upstream import Upstream
from repack.steps import release as releases
from repack.steps.describe import describe
from repack.steps.fetch import fetch
from repack.steps.guard import search_secrets
from repack.steps.index import index
from repack.steps.inspect import inspect
from repack.steps.prove import Scratch, prove
from repack.steps.resolve import resolve
from repack.steps.restore import past_tree

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from repack.model.archive import Depth
    from repack.model.draft import Standing
    from repack.model.found import Found
    from repack.model.label import Label
    from repack.model.outcome import Mode, State
    from repack.model.record import Record

LockUse = Literal["keep", "update"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is and how to build.

    Attributes:
        home: where ``.netrc`` and conda's settings are.
        environment: variables for secrets, proxies and the health check.
        now: the moment that goes into a new release.
        lock: whether an existing lock that still satisfies the label is kept.
        env_file: ``conda info --json`` of an environment to take instead of solving.
    """

    labels_dir: Path
    channels_dir: Path
    store_dir: Path
    home: Path
    environment: Mapping[str, str] = field(repr=False)
    now: dt.datetime
    prove: Mode = "linked"
    lock: LockUse = "keep"
    env_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """One label and the places its build works with."""

    settings: Settings
    label: Label
    lock: Path
    channels: Channels
    store: Store
    upstream: Upstream
    progress: Progress

    @classmethod
    def of(cls, name: str, settings: Settings, progress: Progress) -> Bench:
        """Read the label and open every place; nothing is written yet.

        Raises:
            UsageError: there is no such label.
            LabelError: it has mistakes.
        """
        path = labels.find(settings.labels_dir, name)
        given = "env" if settings.env_file else "label"
        return cls(
            settings=settings,
            label=labels.load(path, settings.environment, spec_fault, given),
            lock=path.with_suffix(".lock"),
            channels=Channels(settings.channels_dir),
            store=Store(settings.store_dir),
            upstream=Upstream.from_environment(settings.environment, settings.home),
            progress=progress,
        )


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
        draft = _draft(found, shipment, bench)
        before = releases.standing(bench.channels, bench.label.name)
        state, number = _bring_about(found, draft, before, bench)
    outcome = _compare(draft, before, bench)
    return replace(
        outcome,
        state=state,
        release=number,
        bytes_fetched=fetched.bytes,
        seconds=time.monotonic() - began,
    )


def _resolve(bench: Bench) -> Found:
    old = None if bench.settings.lock == "update" else bench.lock
    return resolve(bench.label, old, bench.store, bench.progress)


def _take_in(found: Found, bench: Bench) -> Shipment:
    """Look into every archive, once ever, and see that it is what its record says."""
    own = {NOARCH, sandbox.host_subdir()}
    foreign = {r.path for subdir, group in found.records.items() if subdir not in own for r in group}
    deep = bench.settings.prove == "linked"

    def depth(record: Record) -> Depth:
        return "whole" if deep or record.path in foreign else "info"

    facts = inspect(
        [(record, depth(record)) for record in found.distinct],
        bench.store,
        "sha384",
        bench.progress,
    )
    return Shipment.of(found.records, facts)


def _draft(found: Found, shipment: Shipment, bench: Bench) -> Draft:
    texts = {
        **index(shipment),
        **describe(bench.label.name, found, shipment),
    }
    return Draft(bench.label.name, shipment, texts, _modes(found, bench.settings))


def _modes(found: Found, settings: Settings) -> dict[str, Mode]:
    host = sandbox.host_subdir()
    return {
        subdir: "linked" if subdir == host and settings.prove == "linked" else "solved"
        for subdir in found.questions
    }


def _bring_about(
    found: Found, draft: Draft, before: Standing | None, bench: Bench
) -> tuple[State, int]:
    """Make the published channel be ``draft``: nothing to do, a repair, or a new release."""
    channels, name = bench.channels, bench.label.name
    if before is not None and before.serves(draft):
        if before.state == "whole":
            return "unchanged", before.release
        if before.state == "damaged":
            _switch(channels, name, past_tree(channels, name, before.release, bench.store))
            return "repaired", before.release
    number = releases.next_number(channels, name, before)
    tree = releases.make(draft, number, bench.settings.now, bench.store)
    search_secrets(tree.texts, tree.packages, bench.label.secrets | bench.upstream.secrets())
    _check_strict(draft, found, bench)
    _prove(found, draft.shipment, channels.stage(name, tree), bench)
    if not bench.lock.is_file() or bench.lock.read_bytes() != found.lock:
        write(bench.lock, found.lock)
    channels.publish(name, tree)
    channels.remember(name, number, tree.texts)
    channels.forget(name, bench.label.keep_releases, number)
    return "published", number
