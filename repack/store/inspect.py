"""Inspect: learn what the archives hold, once for each, and check that they are what they should.

What was learnt is kept beside the store as JSON, by SHA-256. The cache is never relied on to be
there or to be whole: what cannot be read is learnt again.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from repack.archive.facts import Facts, check_archive
from repack.archive.facts_file import read_facts, write_facts
from repack.errors import IntegrityError, RepackError
from repack.fs.digests import sha384
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from repack.archive.facts import Depth
    from repack.conda.record import Record
    from repack.names import Digest

Hashes = Literal["none", "sha384"]
_THREADS: Final = 8


class Archives(Protocol):
    """Where archives and the facts about them are kept; the store is one."""

    def path(self, sha256: Digest) -> Path:
        """Where the archive is."""

    def facts_path(self, sha256: Digest) -> Path:
        """Where the facts about it are, or would be."""


class _Job(Struct, frozen=True):
    record: Record
    archive: Path
    cache: Path
    depth: Depth
    hashes: Hashes
    known: Facts | None

    @property
    def unhashed(self) -> bool:
        """Whether its SHA-384 is wanted and not known."""
        return self.hashes == "sha384" and (self.known is None or self.known.sha384 is None)

    @property
    def done(self) -> bool:
        """Whether all that is wanted is known."""
        return self.known is not None and self.known.covers(self.depth) and not self.unhashed


def inspect(
    wanted: Iterable[tuple[Record, Depth]],
    archives: Archives,
    hashes: Hashes = "none",
    progress: Progress = SILENT,
) -> dict[Digest, Facts]:
    """Learn the facts about archives and judge them by their records.

    Args:
        wanted: records whose archives are in the store, and how deep each is to be read.
        archives: the store.
        hashes: ``sha384`` when every :attr:`Facts.sha384` is needed.
        progress: hears how many archives are done.

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
            known = read_facts(paths[1])
            jobs[sha256] = _Job(record, *paths, depth, hashes, known)
    facts = {sha256: job.known for sha256, job in jobs.items() if job.known and job.done}
    todo = [job for job in jobs.values() if not job.done]
    faults = _learn_all(todo, facts, progress) if todo else []
    for record in judged:
        if record.sha256 in facts:
            try:
                check_archive(facts[record.sha256], record)
            except IntegrityError as fault:
                faults.append(fault)
    _raise(faults)
    return facts


def _learn_all(
    jobs: list[_Job], facts: dict[Digest, Facts], progress: Progress
) -> list[RepackError]:
    """Fill ``facts``, largest archive first so that no thread is left with it in the end.

    Hashing and decompressing leave the interpreter to others and get threads. Descriptions are
    read here, one after the other: several threads would only take it from each other.
    """
    jobs = sorted(jobs, key=lambda job: (-job.record.size, job.record.path))
    faults: list[RepackError] = []
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS))
    try:
        with progress.phase("reading archives", len(jobs), "packages") as done:
            hashing = [pool.submit(sha384, job.archive) if job.unhashed else None for job in jobs]
            reading = [pool.submit(_read, job) if job.depth == "whole" else None for job in jobs]
            read = [
                _read(job) if later is None else later
                for job, later in zip(jobs, reading, strict=True)
            ]
            for job, result, hashed in zip(jobs, read, hashing, strict=True):
                found = result.result() if isinstance(result, Future) else result
                if isinstance(found, RepackError):
                    faults.append(found)
                    continue
                try:
                    facts[job.record.sha256] = _kept(found, job, hashed)
                except RepackError as fault:
                    faults.append(fault)
                done(1)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return sorted(faults, key=lambda fault: str(fault.where))


def _read(job: _Job) -> Facts | RepackError:
    """The archive's facts as far as they are wanted, without new hashes; or what is wrong."""
    if job.known is not None and job.known.covers(job.depth):
        return job.known
    from repack.archive.reader import scan_archive

    try:
        facts = scan_archive(job.archive, job.record, job.depth)
    except RepackError as fault:
        return fault
    return facts if job.known is None else replace(facts, sha384=job.known.sha384)


def _kept(facts: Facts, job: _Job, hashed: Future[str] | None) -> Facts:
    if hashed is not None:
        facts = replace(facts, sha384=hashed.result())
    write_facts(job.cache, facts)
    return facts


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
