"""Label to release: the straight line, one line a step.

load label -> resolve -> fetch -> bundle -> stage -> index -> sign -> prove -> publish -> report
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from repack.errors import ProofError
from repack.model.archive import judge
from repack.model.channel import NOARCH, check_names
from repack.model.names import LabelName
from repack.model.outcome import Outcome, Platform
from repack.model.progress import SILENT
from repack.model.shipment import Shipment, check_same_content, merge
from repack.places import lockfile, sandbox
from repack.places.channel import Channels, Tree
from repack.places.labels import Labels
from repack.places.solver import Question
from repack.places.store import Store
from repack.places.upstream import Upstream
from repack.steps import resolve as resolving
from repack.steps.describe import describe
from repack.steps.fetch import fetch
from repack.steps.guard import search_secrets
from repack.steps.index import index
from repack.steps.inspect import inspect
from repack.steps.installers import installers
from repack.steps.prove import Scratch, prove
from repack.steps.transmute import transmute

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from repack.model.archive import Depth
    from repack.model.label import Label
    from repack.model.outcome import Mode, Proof
    from repack.model.progress import Progress
    from repack.model.record import Record
    from repack.steps.resolve import Asked, Resolution

LockUse = Literal["keep", "update"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is and how to build.

    Attributes:
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
    """The places a build works with."""

    settings: Settings
    labels: Labels
    channels: Channels
    store: Store
    upstream: Upstream
    progress: Progress

    @classmethod
    def of(cls, settings: Settings, progress: Progress) -> Bench:
        """Open every place; nothing is written yet."""
        return cls(
            settings=settings,
            labels=Labels(settings.labels_dir, settings.environment),
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
    bench = Bench.of(settings, progress)
    with bench.channels.exclusive(LabelName(name)):
        label = bench.labels.load(LabelName(name))
        solution = _resolve(label, bench)
        fetched = fetch(solution.distinct, bench.store, bench.upstream, progress)
        shipment = _take_in(label, solution, bench)
        draft = _draft(label, solution, shipment, bench)
        before = releases.published(bench.channels, label.name)
        if before is not None and before.serves(draft):
            outcome = before.outcome(label)
        else:
            release = releases.make(label, draft, before, settings.now)
            search_secrets(release.tree, label.secrets | bench.upstream.secrets())
            staged = bench.channels.stage(label.name, release.tree)
            proofs = _prove(label, solution, shipment, staged, bench)
            bench.labels.write_lock(label.name, solution.lock)
            bench.channels.publish(label.name, release.tree)
            bench.channels.remember(label.name, release.number, release.tree.texts)
            bench.channels.forget(label.name, label.keep_releases, release.number)
        return outcome
