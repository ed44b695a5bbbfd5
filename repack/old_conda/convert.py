"""Transmute: ``.tar.bz2`` packages for customers whose conda is older than 4.7.

Archives are made once, kept in the store under their own digests, and noted there by the digest of
upstream's archive and the version of the tools.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from repack.archive.reader import read_facts, write_facts
from repack.errors import RepackError
from repack.old_conda import archive
from repack.old_conda.records import ConversionChange, for_old_conda
from repack.progress import SILENT, Progress
from repack.store import derived

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from repack.conda.record import Record
    from repack.names import Digest
    from repack.store.derived import DerivedArchive
    from repack.store.store import Store


class Converted(Struct, frozen=True):
    """A record as an old conda gets it.

    Attributes:
        record: for the archive that is in the store now.
        change: what is different from upstream's record; None when nothing is.
    """

    record: Record
    change: ConversionChange | None


def unmade(records: Sequence[Record], store: Store) -> tuple[Record, ...]:
    """The records whose upstream archives are needed, because nothing was made of them yet."""
    return tuple(record for record in records if _recall(record, store) is None)


def transmute(
    records: Sequence[Record],
    store: Store,
    progress: Progress = SILENT,
) -> tuple[Converted, ...]:
    """Turn every package into one that conda below 4.7 installs; the order stays.

    The archives of those that :func:`unmade` names must be in the store. Facts that are known of
    an archive are handed on to what is made of it, since both hold the same files.

    Raises:
        IntegrityError: an archive is damaged.
        SpaceError: the disk is full.
        PlaceError: the store cannot be read or written.
    """
    made: dict[Digest, DerivedArchive] = {}
    todo: dict[Digest, Record] = {}
    for record in records:
        if record.fn.endswith(".conda"):
            known = _recall(record, store)
            if known is None:
                todo[record.sha256] = record
            else:
                made[record.sha256] = known
    if todo:
        made |= _make_all(tuple(todo.values()), store, progress)
    pairs = (for_old_conda(record, made.get(record.sha256)) for record in records)
    return tuple(Converted(record, change) for record, change in pairs)


def _recall(record: Record, store: Store) -> DerivedArchive | None:
    """What was made of the archive, if the store still has it."""
    if not record.fn.endswith(".conda"):
        return None
    made = derived.read_derived(store.derived_path(record.sha256, archive.recipe()))
    return made if made is not None and store.contains(made.sha256, made.size) else None


def _make_all(
    records: Sequence[Record], store: Store, progress: Progress
) -> dict[Digest, DerivedArchive]:
    # Largest first, so that no thread is left with it in the end. Threads do, because compressing
    # by bzip2 is nearly all of the work and lets other threads run.
    order = sorted(records, key=lambda record: (-record.size, record.path))
    total = sum(record.size for record in order)
    with (
        store.scratch_folder() as folder,
        progress.phase("converting to .tar.bz2", total, "bytes") as done,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):

        def make(record: Record) -> DerivedArchive:
            made = _make(record, store, folder)
            done(record.size)
            return made

        try:
            return {
                record.sha256: made
                for record, made in zip(order, pool.map(make, order), strict=True)
            }
        except RepackError:
            pool.shutdown(cancel_futures=True)
            raise


def _make(record: Record, store: Store, folder: Path) -> DerivedArchive:
    target = folder / f"{record.sha256}.tar.bz2"
    made = archive.convert(store.path(record.sha256), record, target)
    store.add(target, made.sha256, how="move")
    facts = read_facts(store.facts_path(record.sha256))
    if facts is not None:
        write_facts(store.facts_path(made.sha256), replace(facts, sha384=None))
    derived.write_derived(store.derived_path(record.sha256, archive.recipe()), made)
    return made
