"""Resolve: MatchSpecs to exact records per subdir, or an existing lock that still fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from repack.errors import IntegrityError, RepackError, UnsolvableError
from repack.label import agent
from repack.label.files import read_source
from repack.progress import SILENT, Progress
from repack.solve import lockfile
from repack.solve.solution import Solution, SolveRequest
from repack.solve.solver import solve, solve_among
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.conda.record import Record
    from repack.inputs.pins import Pin
    from repack.label.label import Label
    from repack.store.store import Store


class Resolution(Struct, frozen=True):
    """What a label asks of its upstream.

    Attributes:
        channels: URLs in priority order, secrets included.
        requests: one per subdir.
        pins: when a foreign lock was given, its packages per subdir; the result must be these.
        warnings: what of a foreign file was left out.
    """

    channels: tuple[str, ...]
    requests: tuple[SolveRequest, ...]
    pins: Mapping[str, tuple[Pin, ...]] | None = None
    warnings: tuple[str, ...] = ()


def resolve(
    label: Label,
    old_lock: Path | None,
    channel: Path,
    store: Store,
    progress: Progress = SILENT,
) -> Solution:
    """Find the label's exact records.

    Args:
        old_lock: a lock that is kept if it still satisfies the label; then nothing is solved and
            no repodata is read.
        channel: the published channel, if there is one.
        store: keeps upstream's repodata and the records of the lock.

    Raises:
        UnsolvableError: with the solver's explanation for each subdir that has no solution.
        FetchError: a channel cannot be read.
        IntegrityError: the lock is damaged, or the result is not what a given lock pins.
        LabelError: the file that the label names in ``from`` has mistakes.
    """
    asked = _ask(label)
    by_subdir = {request.profile.subdir: request for request in asked.requests}
    memory = store.records_path(label.name)
    if old_lock is not None and old_lock.is_file():
        lock = lockfile.read_lock(old_lock)
        kept = keep(asked, lock)
        if kept is not None:
            records = lockfile.recall(memory, lock.data, kept, channel)
            return Solution(by_subdir, records, lock.data, "kept", asked.warnings)
    records = solve_all(asked, store.repodata_cache, progress)
    data = lockfile.write_lock(
        asked.channels, {q.profile: records[q.profile.subdir] for q in asked.requests}
    )
    lockfile.remember(memory, data, records)
    return Solution(by_subdir, records, data, "solved", asked.warnings)


def _ask(label: Label) -> Resolution:
    wanted = read_source(label.source, tuple(label.platforms)) if label.source else None
    pins = wanted.pins if wanted and wanted.pins else None
    requests = []
    for subdir, profile in label.platforms.items():
        specs, add_pip = label.packages, label.add_pip
        if pins is not None:
            # What the given lock holds is all there will be, pip or not.
            specs = tuple(pin.spec for pin in pins[subdir])
            add_pip = add_pip and any(pin.name == "pip" for pin in pins[subdir])
        elif wanted is not None:
            specs = wanted.specs
        if label.agent and pins is None:
            specs = (*specs, *agent.NEEDS)
        requests.append(
            SolveRequest(profile, specs, label.constraints, label.exclude_newer, add_pip)
        )
    warnings = (*label.notes, *(wanted.notes if wanted else ()))
    return Resolution(label.channels, tuple(requests), pins, warnings)


def solve_all(
    asked: Resolution, cache: Path, progress: Progress = SILENT
) -> dict[str, tuple[Record, ...]]:
    """Solve every subdir from upstream; raises as :func:`resolve` does."""
    found: dict[str, tuple[Record, ...]] = {}
    unsolvable: list[UnsolvableError] = []
    with progress.phase("solve", len(asked.requests), "files") as done:
        for request in asked.requests:
            try:
                found[request.profile.subdir] = solve(asked.channels, request, cache)
            except UnsolvableError as error:
                unsolvable.append(error)
            done(1)
    if unsolvable:
        raise UnsolvableError.together(unsolvable)
    _check_pins(asked, found)
    return found


def keep(asked: Resolution, lock: lockfile.Lock) -> dict[str, tuple[Record, ...]] | None:
    """The lock's records when they still are the answer to what is asked, else None.

    No repodata is read: the lock satisfies the label if solving among its records alone takes
    every one of them.
    """
    wanted = {
        q.profile.subdir: tuple(str(package) for package in q.profile.virtual_packages)
        for q in asked.requests
    }
    channels = tuple(redact_url(url).rstrip("/") for url in asked.channels)
    if lock.virtual_packages != wanted or channels != tuple(c.rstrip("/") for c in lock.channels):
        return None
    found = {subdir: _with_secrets(lock.records[subdir], asked.channels) for subdir in wanted}
    try:
        for request in asked.requests:
            records = found[request.profile.subdir]
            if identities(solve_among(records, request)) != identities(records):
                return None
        _check_pins(asked, found)
    except RepackError:
        return None
    return found


def identities(records: Sequence[Record]) -> frozenset[tuple[str, str]]:
    """What a set of records is, order aside: path and SHA-256 of each."""
    return frozenset((record.path, record.sha256) for record in records)


def _with_secrets(records: Sequence[Record], channels: Sequence[str]) -> tuple[Record, ...]:
    """Give scrubbed URLs of a lock the secrets back that the label's channels carry."""
    bases = [(redact_url(url).rstrip("/") + "/", url.rstrip("/") + "/") for url in channels]

    def full(record: Record) -> Record:
        # The longest base wins: one channel's URL may be the start of another's.
        fitting = [pair for pair in bases if record.url.startswith(pair[0])]
        if not fitting:
            return record
        bare, secret = max(fitting, key=lambda pair: len(pair[0]))
        return replace(record, url=secret + record.url[len(bare) :])

    return tuple(map(full, records))


def _check_pins(asked: Resolution, found: Mapping[str, Sequence[Record]]) -> None:
    if asked.pins is None:
        return
    for subdir, records in found.items():
        pins = {pin.name: pin for pin in asked.pins[subdir]}
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
