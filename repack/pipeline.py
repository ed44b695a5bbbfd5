"""Label to release: the straight line, one line a step.

load label -> resolve -> fetch -> bundle -> stage -> index -> sign -> prove -> publish -> report
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from repack.model.names import LabelName
from repack.model.progress import SILENT
from repack.model.shipment import merge
from repack.places.channel import Channels
from repack.places.labels import Labels
from repack.places.store import Store
from repack.places.upstream import Upstream
from repack.steps import release as releases
from repack.steps.fetch import fetch

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from repack.model.outcome import Mode, Outcome
    from repack.model.progress import Progress
    from repack.model.record import Record
    from repack.places.solver import Question

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


@dataclass(frozen=True, slots=True)
class Found:
    """What a label resolved to.

    Attributes:
        questions: what the target will ask for, per subdir.
        records: exact records per subdir, ``noarch`` included.
        lock: the lock file's bytes.
    """

    questions: Mapping[str, Question]
    records: Mapping[str, tuple[Record, ...]]
    lock: bytes

    @property
    def distinct(self) -> tuple[Record, ...]:
        """Every record once."""
        return tuple(merge(r for records in self.records.values() for r in records).values())


def build(name: str, settings: Settings, progress: Progress = SILENT) -> Outcome:
    """Build, prove and publish one label's channel.

    Raises:
        RepackError: whatever went wrong, by who must act; what was published before still is.
    """
    began = time.monotonic()
    bench = Bench.of(settings, progress)
    with bench.channels.exclusive(LabelName(name)):
        label = bench.labels.load(LabelName(name))
        found = _resolve(label, bench)
        fetched = fetch(found.distinct, bench.store, bench.upstream, progress)
        shipment = _take_in(label, found, bench)
        draft = _draft(label, found, shipment, settings)
        before = releases.standing(bench.channels, label.name)
        state, number = _bring_about(label, found, draft, before, bench)
    return _outcome(draft, before, state, number, bench, fetched.bytes, time.monotonic() - began)
