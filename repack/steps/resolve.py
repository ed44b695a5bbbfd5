"""Resolve: MatchSpecs to exact records per subdir, or an existing lock that still fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from repack.errors import IntegrityError, RepackError, UnsolvableError
from repack.model.progress import SILENT, Progress
from repack.model.urls import scrub
from repack.places.solver import Question, solve, solve_among

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.model.record import Record
    from repack.model.source import Pin
    from repack.places import lockfile

How = Literal["kept", "solved", "harvested"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a label asks of its upstream.

    Attributes:
        channels: URLs in priority order, secrets included.
        questions: one per subdir.
        pins: when a foreign lock was given, its packages per subdir; the result must be these.
    """

    channels: tuple[str, ...]
    questions: tuple[Question, ...]
    pins: Mapping[str, tuple[Pin, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """The exact records per subdir, ``noarch`` ones included in each, sorted by path."""

    records: Mapping[str, tuple[Record, ...]]
    how: How


def resolve(asked: Asked, cache: Path, progress: Progress = SILENT) -> Resolution:
    """Solve every subdir from upstream.

    Raises:
        UnsolvableError: with the solver's explanation for each subdir that has no solution.
        FetchError: a channel cannot be read.
        IntegrityError: the result is not what a given lock pins.
    """
    found: dict[str, tuple[Record, ...]] = {}
    unsolvable: list[UnsolvableError] = []
    with progress.phase("solve", len(asked.questions), "files") as done:
        for question in asked.questions:
            try:
                found[question.profile.subdir] = solve(asked.channels, question, cache)
            except UnsolvableError as error:
                unsolvable.append(error)
            done(1)
    if unsolvable:
        raise _together(unsolvable)
    _check_pins(asked, found)
    return Resolution(found, "solved")


def keep(asked: Asked, lock: lockfile.Lock) -> Resolution | None:
    """The lock's records when they still are the answer to what is asked, else None.

    No repodata is read: the lock satisfies the label if solving among its records alone takes
    every one of them.
    """
    wanted = {
        q.profile.subdir: tuple(map(str, q.profile.virtual_packages)) for q in asked.questions
    }
    channels = tuple(scrub(url).rstrip("/") for url in asked.channels)
    if lock.virtual_packages != wanted or channels != tuple(c.rstrip("/") for c in lock.channels):
        return None
    found = {subdir: _with_secrets(lock.records[subdir], asked.channels) for subdir in wanted}
    try:
        for question in asked.questions:
            records = found[question.profile.subdir]
            if identities(solve_among(records, question)) != identities(records):
                return None
        _check_pins(asked, found)
    except RepackError:
        return None
    return Resolution(found, "kept")


def identities(records: Sequence[Record]) -> frozenset[tuple[str, str]]:
    """What a set of records is, order aside: path and SHA-256 of each."""
    return frozenset((record.path, record.sha256) for record in records)


def _with_secrets(records: Sequence[Record], channels: Sequence[str]) -> tuple[Record, ...]:
    """Give scrubbed URLs of a lock the secrets back that the label's channels carry."""
    bases = [(scrub(url).rstrip("/") + "/", url.rstrip("/") + "/") for url in channels]

    def full(record: Record) -> Record:
        # The longest base wins: one channel's URL may be the start of another's.
        fitting = [pair for pair in bases if record.url.startswith(pair[0])]
        if not fitting:
            return record
        bare, secret = max(fitting, key=lambda pair: len(pair[0]))
        return replace(record, url=secret + record.url[len(bare) :])

    return tuple(map(full, records))


def _together(errors: Sequence[UnsolvableError]) -> UnsolvableError:
    if len(errors) == 1:
        return errors[0]
    parts = [f"{error.what}:\n{error.got}" for error in errors]
    return UnsolvableError("no set of packages fulfils the label", got="\n".join(["", *parts]))


def _check_pins(asked: Asked, found: Mapping[str, Sequence[Record]]) -> None:
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
                    where=scrub(record.url),
                    expected=pin.sha256 or pin.md5,
                    got=record.sha256,
                )
