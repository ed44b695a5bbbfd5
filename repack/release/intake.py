"""Everything a label needs into the store, looked into, and in the format its target reads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.channel.contents import ChannelContents
from repack.conda import spdx
from repack.old_conda.records import noarch_python_trouble, unspeakable, without_link_json
from repack.release import own_packages
from repack.report import html
from repack.store.fetch import fetch
from repack.store.inspect import inspect
from repack.store.write_behind import flushing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.archive.facts import Depth
    from repack.conda.record import Record
    from repack.names import RelPath
    from repack.old_conda.records import ConversionChange
    from repack.release.context import BuildContext
    from repack.solve.solution import Solution
    from repack.store.write_behind import WriteBehind


class Intake(Struct, frozen=True):
    """What came in.

    Attributes:
        shipment: all packages but those that carry the release's number.
        bytes: what was transferred.
        changes: how packages were converted for an old conda.
        warnings: what an old conda will make of them.
    """

    shipment: ChannelContents
    bytes: int
    changes: tuple[ConversionChange, ...] = ()
    warnings: tuple[str, ...] = ()


def take_in(found: Solution, bench: BuildContext) -> Intake:
    """Fetch what the store lacks, look into each archive once ever, convert where that is wanted.

    Raises:
        FetchError: archives could not be had.
        IntegrityError: an archive is not what its record says.
        SpaceError: the disk is full.
    """
    own_packages.check_names(found, bench.label)
    with flushing(bench.store) as flushed:
        if bench.archive == ".tar.bz2":
            return _for_old_conda(found, flushed, bench)
        return _as_it_comes(found, flushed, bench)


def _as_it_comes(found: Solution, flushed: WriteBehind, bench: BuildContext) -> Intake:
    fetched = fetch(found.unique_records, bench.store, bench.upstream, bench.progress, flushed)
    with ThreadPoolExecutor(1) as aside:
        if fetched.files:
            # Hashing leaves the interpreter free for what a new release is going to need.
            aside.submit(spdx.load_licences)
            aside.submit(html.make_ready)
        shipment = _look_into(found, found.unique_records, bench)
    return Intake(shipment, fetched.bytes)


def _for_old_conda(found: Solution, flushed: WriteBehind, bench: BuildContext) -> Intake:
    from repack.old_conda.convert import transmute, unmade

    upstream = found.unique_records
    # Once an archive was made, upstream's is not needed any more.
    needed = unmade(upstream, bench.store)
    fetched = fetch(needed, bench.store, bench.upstream, bench.progress, flushed)
    # Facts go with the archive that is made; to read that one to the end takes ten times as long.
    inspect([(record, "whole") for record in needed], bench.store, progress=bench.progress)
    made = transmute(upstream, bench.store, bench.progress)
    new: dict[RelPath, Record] = {
        old.path: result.record for old, result in zip(upstream, made, strict=True)
    }
    converted_records = {s: tuple(new[r.path] for r in group) for s, group in found.records.items()}
    converted = found.with_records(converted_records)
    shipment = _look_into(converted, converted.unique_records, bench)
    changes = tuple(result.change for result in made if result.change is not None)
    return Intake(shipment, fetched.bytes, changes, tuple(_trouble(shipment)))


def _look_into(found: Solution, records: Sequence[Record], bench: BuildContext) -> ChannelContents:
    bundles = own_packages.bundles(bench)
    wanted: list[tuple[Record, Depth]] = [(record, "info") for record in (*records, *bundles)]
    facts = inspect(wanted, bench.store, "sha384", bench.progress)
    return ChannelContents.of(found.records, facts).with_packages(bundles, facts)


def _trouble(shipment: ChannelContents) -> list[str]:
    found = []
    for subdir, records in shipment.records_by_subdir.items():
        pairs = [(r, shipment.items[r.path].facts) for r in records]
        if names := noarch_python_trouble(records):
            found.append(
                f"{subdir}: conda below 4.7 cannot link noarch python packages for Python 3.10"
                f" and later: {', '.join(names)}"
            )
        if specs := unspeakable(records):
            found.append(
                f"{subdir}: conda below 4.7 does not understand these dependencies, so their"
                f" packages cannot be installed there: {', '.join(specs)}"
            )
        if names := without_link_json(pairs):
            found.append(
                f"{subdir}: conda below 4.7 takes these noarch python packages, which have no"
                f" info/link.json, for ordinary ones: {', '.join(names)}"
            )
    return found
