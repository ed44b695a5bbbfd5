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


def _resolve(label: Label, bench: Bench) -> Found:
    """The label's exact records: from a prepared environment, a lock that still fits, or solved."""
    settings = bench.settings
    if settings.env_file is not None:
        return _harvest(label, bench)
    asked = _ask(label, bench)
    kept = None
    memory = bench.store.records_path(label.name)
    old = bench.labels.lock(label.name)
    if old is not None and settings.lock == "keep":
        kept = resolving.keep(asked, lockfile.read_lock(bench.labels.lock_path(label.name)))
    if kept is not None and old is not None:
        records = lockfile.recall(memory, old, kept.records)
        return Found(_by_subdir(asked.questions), records, old)
    solved = resolving.resolve(asked, bench.store.repodata_cache, bench.progress)
    return _found(label, asked.questions, solved.records, bench)


def _found(
    label: Label,
    questions: Iterable[Question],
    records: Mapping[str, tuple[Record, ...]],
    bench: Bench,
) -> Found:
    by_subdir = _by_subdir(questions)
    profiles = {by_subdir[subdir].profile: records[subdir] for subdir in sorted(records)}
    lock = lockfile.write_lock(label.channels, profiles)
    lockfile.remember(bench.store.records_path(label.name), lock, records)
    return Found(by_subdir, records, lock)


def _by_subdir(questions: Iterable[Question]) -> dict[str, Question]:
    return {question.profile.subdir: question for question in questions}


def _bring_about(
    label: Label, found: Found, draft: Draft, before: Standing | None, bench: Bench
) -> tuple[State, int]:
    """Make the published channel be ``draft``: nothing to do, a repair, or a new release."""
    channels = bench.channels
    if before is not None and before.serves(draft):
        if before.state == "whole":
            return "unchanged", before.release
        if before.state == "damaged":
            tree = past_tree(channels, label.name, before.release, bench.store)
            channels.stage(label.name, tree)
            channels.publish(label.name, tree)
            bench.progress.note(f"release {before.release} was damaged on disk and is whole again")
            return "repaired", before.release
        
    number = releases.next_number(channels, label.name, before)
    release = releases.make(draft, number, bench.settings.now, bench.store)
    search_secrets(release.texts, release.packages, label.secrets | bench.upstream.secrets())
    staged = channels.stage(label.name, release)
    _prove(label, found, draft.shipment, staged, bench)
    bench.labels.write_lock(label.name, found.lock)
    channels.publish(label.name, release)
    channels.remember(label.name, number, release.texts)
    channels.forget(label.name, label.keep_releases, number)
    return "published", number


def _prove(
    label: Label, found: Found, shipment: Shipment, staged: Path, bench: Bench
) -> None:
    """Prove every subdir of the staged channel, by linking where it is this machine's."""
    modes = _modes(found, bench.settings)
    for subdir, question in found.questions.items():
        scratch = None
        if modes[subdir] == "linked":
            scratch = Scratch(
                prefix=bench.store.scratch(label.name),
                cache=bench.store.package_cache,
                health_check=label.health_check,
                environment=bench.settings.environment,
            )
        proof = prove(staged, question, shipment.installs[subdir], scratch, bench.progress)
        for path in proof.clobbered:
            bench.progress.note(f"{subdir}: several packages bring {path}")


def _modes(found: Found, settings: Settings) -> dict[str, Mode]:
    host = sandbox.host_subdir()
    return {
        subdir: "linked" if subdir == host and settings.prove == "linked" else "solved"
        for subdir in found.questions
    }


def restore(name: str, release: int, channels_dir: Path, store_dir: Path) -> Path:
    """Make a past release the published one again, byte for byte, and return its folder.

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
