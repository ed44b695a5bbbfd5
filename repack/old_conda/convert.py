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

from repack.archive.facts_file import read_facts, write_facts
from repack.errors import RepackError
from repack.old_conda.archive import convert, recipe
from repack.old_conda.records import ConversionChange, for_old_conda
from repack.progress import SILENT, Progress
from repack.store.derived import read_derived, write_derived

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


def unconverted(records: Sequence[Record], store: Store) -> tuple[Record, ...]:
    """The records whose upstream archives are needed, because they were not converted yet."""
    return tuple(record for record in records if _recall(record, store) is None)


def transmute(
    records: Sequence[Record],
    store: Store,
    progress: Progress = SILENT,
) -> tuple[Converted, ...]:
    """Turn every package into one that conda below 4.7 installs; the order stays.

    The archives of those that :func:`unconverted` names must be in the store. Facts that are known of
    an archive are handed on to what is made of it, since both hold the same files.

    Raises:
        IntegrityError: an archive is damaged.
        SpaceError: the disk is full.
        PlaceError: the store cannot be read or written.
    """
    derived_by_digest: dict[Digest, DerivedArchive] = {}
    missing: dict[Digest, Record] = {}
    for record in records:
        if record.fn.endswith(".conda"):
            archive = _recall(record, store)
            if archive is None:
                missing[record.sha256] = record
            else:
                derived_by_digest[record.sha256] = archive
    if missing:
        derived_by_digest |= _convert_all(tuple(missing.values()), store, progress)
    pairs = (for_old_conda(record, derived_by_digest.get(record.sha256)) for record in records)
    return tuple(Converted(record, change) for record, change in pairs)


def _recall(record: Record, store: Store) -> DerivedArchive | None:
    """What was made from the archive, if the store still has it."""
    if not record.fn.endswith(".conda"):
        return None
    derived = read_derived(store.derived_path(record.sha256, recipe()))
    return derived if derived and store.contains(derived.sha256, derived.size) else None


def _convert_all(
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

        def convert_one(record: Record) -> tuple[Digest, DerivedArchive]:
            derived = _convert(record, store, folder)
            done(record.size)
            return record.sha256, derived

        try:
            return dict(pool.map(convert_one, order))
        except RepackError:
            pool.shutdown(cancel_futures=True)
            raise


def _convert(record: Record, store: Store, folder: Path) -> DerivedArchive:
    target = folder / f"{record.sha256}.tar.bz2"
    derived = convert(store.path(record.sha256), record, target)
    store.add(target, derived.sha256, how="move")
    facts = read_facts(store.facts_path(record.sha256))
    if facts is not None:
        write_facts(store.facts_path(derived.sha256), replace(facts, sha384=None))
    # The note comes last: with it, nobody converts again.
    write_derived(store.derived_path(record.sha256, recipe()), derived)
    return derived
