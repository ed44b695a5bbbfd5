"""Resolve: MatchSpecs to exact records per subdir, or an existing lock that still fits."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from repack.display import shown
from repack.errors import IntegrityError, PlaceError, RepackError, UnsolvableError
from repack.fs.walk import read_or_none
from repack.label import agent
from repack.label.files import read_source
from repack.solve import lockfile
from repack.solve.lock_places import ChannelPlaces, foreign_pins, replaced_packages
from repack.solve.pinned import take_pinned
from repack.solve.solution import Solution, SolveRequest
from repack.solve.solver import offered_names, offered_packages, solve, solve_among
from repack.solve.wheels import (
    WheelChooser,
    WheelNeeds,
    WheelSettings,
    are_served,
    read_wheel_needs,
)
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.conda.record import Record
    from repack.inputs.pins import Pin, WheelPin
    from repack.label.label import Label
    from repack.progress import Progress
    from repack.solve.upstream_repodata import UpstreamRepodata
    from repack.store.store import Store

CHANNEL_LOCK: Final = "repack/lock.yml"


class LabelRequest(Struct, frozen=True):
    """What a label asks of its upstream.

    Attributes:
        channels: URLs in priority order, secrets included.
        requests: one per subdir.
        pins: when a foreign lock was given, its packages per subdir; the result must be these.
        warnings: what of a foreign file was left out.
        wheels: what is asked of PyPI.
    """

    channels: tuple[str, ...]
    requests: tuple[SolveRequest, ...]
    pins: Mapping[str, tuple[Pin, ...]] | None = None
    warnings: tuple[str, ...] = ()
    wheels: WheelNeeds = field(default_factory=WheelNeeds)


class SolveContext(Struct, frozen=True):
    """Where a label is solved from.

    Attributes:
        store: keeps upstream's repodata and the records of the lock.
        repodata: upstream's, and upstream with its mirrors.
        wheel_settings: for choosing wheels that no lock names.
    """

    store: Store
    repodata: UpstreamRepodata
    progress: Progress
    wheel_settings: WheelSettings


class Baseline(Struct, frozen=True):
    """What there is of earlier builds of the label.

    Attributes:
        lock: ``labels/NAME.lock``, which may not exist.
        channel: the published channel, which may not exist.
        is_kept: whether the lock is kept if it still satisfies the label.
    """

    lock: Path
    channel: Path
    is_kept: bool = True


def resolve(label: Label, baseline: Baseline, context: SolveContext) -> Solution:
    """Find the label's exact records.

    Args:
        baseline: a lock that still satisfies the label is kept; then nothing is solved and no
            repodata is read.

    Raises:
        UnsolvableError: with the solver's explanation for each subdir that has no solution.
        FetchError: a channel cannot be read.
        IntegrityError: the lock is damaged or names packages outside of the label's channels, or
            the result is not what a given lock pins.
        LabelError: the file that the label names in ``from`` has mistakes.
    """
    label_request = read_label_request(label)
    by_subdir = {request.profile.subdir: request for request in label_request.requests}
    path = context.store.records_path(label.name)
    places = ChannelPlaces(label_request.channels, context.repodata.upstream.locations)
    label_request, unheld = _hold_pins(label_request, places)
    # Channels are compared with those of the lock, secrets aside.
    digest = lockfile.digest_request([label_request.requests, label_request.pins])
    if baseline.is_kept and baseline.lock.is_file():
        lock = lockfile.read_lock(baseline.lock)
        memory = lockfile.recall_lock(path, lock.data)
        locations = context.repodata.upstream.locations
        places = ChannelPlaces(label_request.channels, locations, memory.elsewhere)
        lock_use = LockUse(baseline.lock, places, is_satisfied=memory.satisfied == digest)
        kept = keep_lock(label_request, lock, lock_use)
        if kept is not None and are_served(label_request.wheels, lock.wheels, tuple(by_subdir)):
            records = lockfile.restore_upstream_form(kept, memory, baseline.channel)
            solution = Solution(
                by_subdir,
                records,
                lock.data,
                "kept",
                label_request.warnings,
                unheld=unheld,
                wheels=lock.wheels,
            )
            if memory.records and memory.satisfied != digest:
                lockfile.remember_lock(
                    path, lock.data, solution.unique_records, digest, memory.elsewhere
                )
            return solution
    records, wheels = solve_all(label, label_request, context)
    data = lockfile.write_lock(
        label_request.channels,
        {q.profile: records[q.profile.subdir] for q in label_request.requests},
        wheels,
    )
    solution = Solution(
        by_subdir,
        records,
        data,
        "solved",
        label_request.warnings,
        unheld=unheld,
        wheels=wheels,
    )
    # Channels whose repodata sends clients to another place (base_url) are upstream's own decision.
    elsewhere = {
        redact_url(record.url).rsplit("/", 2)[0]
        for record in solution.unique_records
        if places.url_of(record) is None
    }
    lockfile.remember_lock(path, data, solution.unique_records, digest, tuple(sorted(elsewhere)))
    return solution


def _hold_pins(
    label_request: LabelRequest, places: ChannelPlaces
) -> tuple[LabelRequest, tuple[str, ...]]:
    """Say which pins of a ``from:`` lock are from elsewhere; second those that no hash holds.

    Nothing is fetched from there: the packages are those of the label's channels, and a hash in the
    lock must be theirs.
    """
    foreign = foreign_pins(label_request.pins or {}, places)
    if not foreign:
        return label_request, ()
    warning = (
        f"{len(foreign)} packages of the given lock are from outside of the label's channels, such"
        f" as {shown(foreign[0].url, 200)}; those of the channels are taken"
    )
    unheld = tuple(
        f"{shown(pin.url, 200)}: from outside of the label's channels, and the lock has no hash"
        for pin in foreign
        if not (pin.sha256 or pin.md5)
    )
    return replace(label_request, warnings=(*label_request.warnings, warning)), unheld


def find_replaced(solution: Solution, baseline: Baseline) -> tuple[str, ...]:
    """Packages whose content is another than in the last lock or in the published channel's.

    The lock beside the label counts as well as the channel's: the channel may be gone, and the
    lock may have been edited. A damaged one says nothing.
    """
    lines: dict[str, None] = {}
    for path in (baseline.lock, baseline.channel / CHANNEL_LOCK):
        data = read_or_none(path)
        if data is None or lockfile.bare(data) == lockfile.bare(solution.lock):
            continue
        with contextlib.suppress(IntegrityError, PlaceError):
            groups = lockfile.read_lock(path).records.values()
            before = (record for group in groups for record in group)
            lines |= dict.fromkeys(replaced_packages(before, solution.unique_records))
    return tuple(lines)


def read_label_request(label: Label) -> LabelRequest:
    """What a label and the file it names in ``from`` ask for.

    Raises:
        LabelError: the file has mistakes.
        PlaceError: it cannot be read.
    """
    source = read_source(label.source, tuple(label.platforms)) if label.source else None
    pins = source.pins if source and source.pins else None
    requests = []
    for subdir, profile in label.platforms.items():
        specs, add_pip = label.packages, label.add_pip
        if pins is not None:
            # What the given lock holds is all there will be, pip or not.
            specs = tuple(pin.spec for pin in pins[subdir])
            add_pip = add_pip and any(pin.name == "pip" for pin in pins[subdir])
        elif source is not None:
            specs = source.specs
        if label.agent and pins is None:
            specs = (*specs, *agent.NEEDS)
        requests.append(
            SolveRequest(profile, specs, label.constraints, label.exclude_newer, add_pip)
        )
    needs = read_wheel_needs(label, source)
    warnings = (*label.notes, *(source.notes if source else ()), *needs.notes)
    return LabelRequest(label.channels, tuple(requests), pins, warnings, needs)


def solve_all(
    label: Label, label_request: LabelRequest, context: SolveContext
) -> tuple[dict[str, tuple[Record, ...]], dict[str, tuple[WheelPin, ...]]]:
    """Solve every subdir from upstream, wheels beside it; raises as :func:`resolve` does."""
    records: dict[str, tuple[Record, ...]] = {}
    wheels: dict[str, tuple[WheelPin, ...]] = {}
    unsolvable: list[UnsolvableError] = []
    repodata = context.repodata
    channels, chooser = label_request.channels, None

    def solve_one(request: SolveRequest) -> tuple[Record, ...]:
        if label_request.pins is None:
            return solve(channels, request, repodata)
        return take_pinned(label_request.pins[request.profile.subdir], channels, request, repodata)

    if not label_request.wheels.is_empty and context.wheel_settings is not None:
        chooser = WheelChooser(
            label=label,
            needs=label_request.wheels,
            settings=context.wheel_settings,
            solve=solve_one,
            offered=lambda subdir: offered_names(channels, subdir, repodata),
        )
    with context.progress.phase("solve", len(label_request.requests), "files") as done:
        for request in label_request.requests:
            subdir = request.profile.subdir
            try:
                if chooser is None:
                    records[subdir] = solve_one(request)
                else:
                    wheels[subdir], records[subdir] = chooser.choose(request)
            except UnsolvableError as error:
                # Only what fails pays for this import.
                from repack.solve.explain import Upstreams, explain

                upstreams = Upstreams(
                    solve=lambda request: solve(channels, request, repodata),
                    offered=lambda subdir: offered_names(channels, subdir, repodata),
                    packages=lambda subdir, names: offered_packages(
                        channels, subdir, names, repodata
                    ),
                )
                unsolvable.append(explain(error, label, request, upstreams))
            done(1)
    if unsolvable:
        raise UnsolvableError.together(unsolvable)
    _check_pins(label_request, records)
    return records, wheels


class LockUse(Struct, frozen=True):
    """How a lock is looked at.

    Attributes:
        path: of the lock, for messages.
        places: where its packages may come from.
        is_satisfied: whether this lock was found to satisfy this very request before; then
            nothing is solved.
    """

    path: Path
    places: ChannelPlaces
    is_satisfied: bool = False


def keep_lock(
    label_request: LabelRequest, lock: lockfile.Lock, lock_use: LockUse
) -> dict[str, tuple[Record, ...]] | None:
    """The lock's records when they still are the answer to what is asked, else None.

    No repodata is read: the lock satisfies the label if solving among its records alone takes
    every one of them.

    Raises:
        IntegrityError: the lock is for these channels, and names packages outside of them.
    """
    virtual_packages = {
        request.profile.subdir: tuple(map(str, request.profile.virtual_packages))
        for request in label_request.requests
    }
    channels = [redact_url(url).rstrip("/") for url in label_request.channels]
    if lock.virtual_packages != virtual_packages:
        return None
    if channels != [channel.rstrip("/") for channel in lock.channels]:
        return None
    records = {
        subdir: lock_use.places.place(lock.records[subdir], lock_use.path)
        for subdir in virtual_packages
    }
    try:
        for request in () if lock_use.is_satisfied else label_request.requests:
            locked = records[request.profile.subdir]
            # What wheels need of conda is in no spec; all that is locked may be needed then.
            needed = tuple(r.name for r in locked) if lock.wheels else ()
            asked = replace(request, specs=(*request.specs, *needed))
            if identities(solve_among(locked, asked)) != identities(locked):
                return None
        _check_pins(label_request, records)
    except RepackError:
        return None
    return records


def identities(records: Sequence[Record]) -> frozenset[tuple[str, str]]:
    """What a set of records is, order aside: path and SHA-256 of each."""
    return frozenset((record.path, record.sha256) for record in records)


def _check_pins(
    label_request: LabelRequest, records_by_subdir: Mapping[str, Sequence[Record]]
) -> None:
    if label_request.pins is None:
        return
    for subdir, records in records_by_subdir.items():
        pins = {pin.name: pin for pin in label_request.pins[subdir]}
        for record in records:
            pin = pins.get(record.name)
            if pin is None:
                raise IntegrityError(
                    f"{record} is needed but not in the given lock",
                    where=subdir,
                    hint="make the lock complete, or list packages instead of `from`",
                )
            if pin.sha256 not in (None, record.sha256) or pin.md5 not in (None, record.md5):
                raise IntegrityError(
                    f"upstream's {record.fn} is not the file that the given lock pins",
                    where=redact_url(record.url),
                    expected=pin.sha256 or pin.md5,
                    got=record.sha256,
                )
