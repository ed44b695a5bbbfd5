"""The same packages with upstream's records of today: hot-fixes made since they were locked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from repack.solve import lockfile
from repack.solve.solver import query_upstream

if TYPE_CHECKING:
    from repack.conda.record import Record
    from repack.label.label import Label
    from repack.solve.resolve import SolveContext
    from repack.solve.solution import Solution


def with_hotfixes(solution: Solution, label: Label, context: SolveContext) -> Solution:
    """``solution`` with upstream's present record of every archive that is still the same.

    A package that upstream withdrew or replaced keeps the record it was locked with.

    Raises:
        FetchError: a channel cannot be read.
    """
    records: dict[str, tuple[Record, ...]] = {}
    for subdir, group in solution.records.items():
        names = sorted({record.name for record in group})
        upstream = query_upstream(label.channels, subdir, names, context.repodata).records
        records[subdir] = tuple(
            current
            if (current := upstream.get(record.url)) and current.sha256 == record.sha256
            else record
            for record in group
        )
    if all(
        dict(new.raw) == dict(old.raw)
        for subdir, group in records.items()
        for new, old in zip(group, solution.records[subdir], strict=True)
    ):
        return solution
    profiles = {request.profile: records[s] for s, request in solution.requests.items()}
    lock = lockfile.write_lock(label.channels, profiles, solution.wheels)
    refreshed = replace(solution, records=records, lock=lock)
    path = context.store.records_path(label.name)
    memory = lockfile.recall_lock(path, solution.lock)
    lockfile.remember_lock(path, lock, refreshed.unique_records, memory.satisfied, memory.elsewhere)
    return refreshed
