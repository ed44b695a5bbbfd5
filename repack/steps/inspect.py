"""Inspect: learn what the archives hold, once for each, and check that they are what they should.

What was learnt is kept beside the store as JSON, by SHA-256. The cache is never relied on to be
there or to be whole: what cannot be read is learnt again.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, Protocol

from repack.errors import IntegrityError, RepackError
from repack.model.archive import Facts, judge
from repack.model.progress import SILENT, Progress
from repack.places.archive import recall_facts, remember_facts, sha384, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from repack.model.archive import Depth
    from repack.model.names import Digest
    from repack.model.record import Record

Hashes = Literal["none", "sha384"]
_THREADS: Final = 8


class Archives(Protocol):
    """Where archives and the facts about them are kept; the store is one."""

    def path(self, sha256: Digest) -> Path:
        """Where the archive is."""

    def facts_path(self, sha256: Digest) -> Path:
        """Where the facts about it are, or would be."""


@dataclass(frozen=True, slots=True)
class _Job:
    record: Record
    archive: Path
    cache: Path
    depth: Depth
    hashes: Hashes
    sha384: str | None


def inspect(
    wanted: Iterable[tuple[Record, Depth]],
    archives: Archives,
    hashes: Hashes = "none",
    progress: Progress = SILENT,
    fresh: Mapping[Digest, str] | None = None,
) -> dict[Digest, Facts]:
    """Learn the facts about archives and judge them by their records.

    Args:
        wanted: records whose archives are in the store, and how deep each is to be read.
        archives: the store.
        hashes: ``sha384`` when every :attr:`Facts.sha384` is needed.
        progress: hears how many archives are done.
        fresh: SHA-384 of archives that were hashed as they came, by SHA-256.

    Raises:
        IntegrityError: an archive is damaged, hostile, or not the package its record describes;
            names all of them.
        PlaceError: an archive cannot be read or the cache not written.
    """
    jobs: dict[Digest, _Job] = {}
    judged: list[Record] = []
    for record, depth in wanted:
        sha256 = record.sha256
        judged.append(record)
        if depth == "whole" or sha256 not in jobs:
            paths = (archives.path(sha256), archives.facts_path(sha256))
            jobs[sha256] = _Job(record, *paths, depth, hashes, (fresh or {}).get(sha256))
    facts: dict[Digest, Facts] = {}
    todo: list[_Job] = []
    for sha256, job in jobs.items():
        known = recall_facts(job.cache)
        if known is not None and _suffices(known, job):
            facts[sha256] = known
        else:
            todo.append(job)
    faults = _learn_all(todo, facts, progress) if todo else []
    for record in judged:
        if record.sha256 in facts:
            try:
                judge(facts[record.sha256], record)
            except IntegrityError as fault:
                faults.append(fault)
    _raise(faults)
    return facts


def _learn_all(
    jobs: list[_Job], facts: dict[Digest, Facts], progress: Progress
) -> list[RepackError]:
    """Fill ``facts``, largest archive first so that no thread is left with it in the end."""
    jobs = sorted(jobs, key=lambda job: (-job.record.size, job.record.path))
    faults: list[RepackError] = []
    with (
        progress.phase("reading archives", len(jobs), "packages") as done,
        ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS)) as pool,
    ):
        for job, outcome in zip(jobs, pool.map(lambda job: _attempt(job, done), jobs), strict=True):
            if isinstance(outcome, Facts):
                facts[job.record.sha256] = outcome
            else:
                faults.append(outcome)
    return sorted(faults, key=lambda fault: str(fault.where))


def _attempt(job: _Job, done: Callable[[int], None]) -> Facts | RepackError:
    try:
        facts = _learn(job)
    except RepackError as fault:
        return fault
    done(1)
    return facts


def _learn(job: _Job) -> Facts:
    facts = recall_facts(job.cache)
    if facts is None or not facts.covers(job.depth):
        digest = None if facts is None else facts.sha384
        facts = replace(survey(job.archive, job.record, job.depth), sha384=digest)
    if job.hashes == "sha384" and facts.sha384 is None:
        facts = replace(facts, sha384=job.sha384 or sha384(job.archive))
    remember_facts(job.cache, facts)
    return facts


def _suffices(facts: Facts, job: _Job) -> bool:
    return facts.covers(job.depth) and (job.hashes == "none" or facts.sha384 is not None)


def _raise(faults: list[RepackError]) -> None:
    if not faults:
        return
    grave = next((fault for fault in faults if not isinstance(fault, IntegrityError)), faults[0])
    if len(faults) == 1 or not isinstance(grave, IntegrityError):
        raise grave
    raise IntegrityError(
        f"{len(faults)} archives are not what they should be",
        got="".join(f"\n{fault.text()}" for fault in faults),
        hint=faults[0].hint,
    )
