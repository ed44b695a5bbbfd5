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


class LabelRequest(Struct, frozen=True):
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
    label_request = _read_request(label)
    by_subdir = {request.profile.subdir: request for request in label_request.requests}
    path = store.records_path(label.name)
    # Channels are compared with those of the lock, secrets aside.
    digest = lockfile.digest_request([label_request.requests, label_request.pins])
    if old_lock is not None and old_lock.is_file():
        lock = lockfile.read_lock(old_lock)
        memory = lockfile.recall_lock(path, lock.data)
        kept = keep_lock(label_request, lock, is_satisfied=memory.satisfied == digest)
        if kept is not None:
            records = lockfile.restore_upstream_form(kept, memory, channel)
            solution = Solution(by_subdir, records, lock.data, "kept", label_request.warnings)
            if memory.records and memory.satisfied != digest:
                lockfile.remember_lock(path, lock.data, solution.unique_records, digest)
            return solution
    records = solve_all(label_request, store.repodata_cache, progress)
    data = lockfile.write_lock(
        label_request.channels,
        {q.profile: records[q.profile.subdir] for q in label_request.requests},
    )
    solution = Solution(by_subdir, records, data, "solved", label_request.warnings)
    lockfile.remember_lock(path, data, solution.unique_records, digest)
    return solution


def _read_request(label: Label) -> LabelRequest:
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
    warnings = (*label.notes, *(source.notes if source else ()))
    return LabelRequest(label.channels, tuple(requests), pins, warnings)


def solve_all(
    label_request: LabelRequest, cache: Path, progress: Progress = SILENT
) -> dict[str, tuple[Record, ...]]:
    """Solve every subdir from upstream; raises as :func:`resolve` does."""
    records: dict[str, tuple[Record, ...]] = {}
    unsolvable: list[UnsolvableError] = []
    with progress.phase("solve", len(label_request.requests), "files") as done:
        for request in label_request.requests:
            try:
                records[request.profile.subdir] = solve(label_request.channels, request, cache)
            except UnsolvableError as error:
                unsolvable.append(error)
            done(1)
    if unsolvable:
        raise UnsolvableError.together(unsolvable)
    _check_pins(label_request, records)
    return records


def keep_lock(
    label_request: LabelRequest, lock: lockfile.Lock, *, is_satisfied: bool
) -> dict[str, tuple[Record, ...]] | None:
    """The lock's records when they still are the answer to what is asked, else None.

    No repodata is read: the lock satisfies the label if solving among its records alone takes
    every one of them.

    Args:
        label_request: the request.
        lock: the lock.
        is_satisfied: whether this lock was found to satisfy this very request before; then
            nothing is solved.
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
        subdir: _with_secrets(lock.records[subdir], label_request.channels)
        for subdir in virtual_packages
    }
    try:
        for request in () if is_satisfied else label_request.requests:
            locked = records[request.profile.subdir]
            if identities(solve_among(locked, request)) != identities(locked):
                return None
        _check_pins(label_request, records)
    except RepackError:
        return None
    return records


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
