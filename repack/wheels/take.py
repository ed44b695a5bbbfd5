"""Fetch wheels, make packages of them, and remember which.

A wheel is fetched and converted once per content and target. What became of it is noted in the store,
so an unchanged build needs neither the wheel nor a network.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import Struct

from repack.archive.writer import pack
from repack.codec.canonical import canonical
from repack.conda.record import Record
from repack.errors import FetchError, IntegrityError, RepackError
from repack.fs import atomic, beneath
from repack.names import Digest
from repack.structs import Value
from repack.urls import redact_url
from repack.wheels.convert import Conversion, convert_wheel
from repack.wheels.requirements import applicable, parse_requirements
from repack.wheels.tags import fit_of
from repack.wheels.wheel import Wheel, read_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repack.archive.package import Format
    from repack.conda.virtual_packages import TargetProfile
    from repack.inputs.pins import WheelPin
    from repack.progress import Progress
    from repack.store.store import Store
    from repack.upstream.client import Upstream
    from repack.wheels.names import NameMapping
    from repack.wheels.requirements import Machine

# Raised whenever another package comes out of the same wheel.
_CONVERTER: Final = 1
_LIMIT: Final = 1 << 20
_MAX_WHEEL: Final = 16 << 30
_THREADS: Final = 4


class WheelTarget(Struct, frozen=True):
    """For whom wheels are converted."""

    machine: Machine
    profile: TargetProfile


class WheelWork(Value, frozen=True):
    """What converting works with.

    Attributes:
        scratch: a folder of this build's own.
    """

    hidden_fields: ClassVar = ("upstream",)

    store: Store
    upstream: Upstream
    scratch: Path
    archive_format: Format
    names: NameMapping
    progress: Progress


def package_wheels(
    pins: Sequence[WheelPin],
    requested: Mapping[str, frozenset[str]],
    target: WheelTarget,
    work: WheelWork,
) -> tuple[Record, ...]:
    """The packages that wheels become for one target, in the store.

    Args:
        requested: extras by distribution that the label asks for; those that other wheels ask for
            are found here.

    Raises:
        FetchError: wheels could not be had; all of them are named.
        IntegrityError: a wheel is damaged, another one than its hash says, or not for this target.
        SpaceError: the disk is full.
    """
    note = _note_path(pins, requested, target, work)
    if records := _recall(note, work.store):
        return records
    _fetch_all(pins, work)
    wheels = [read_wheel(work.store.path(Digest(pin.sha256)), pin.fn) for pin in pins]
    extras = _extras(wheels, requested, target.machine)
    records_made: list[Record] = []
    with work.progress.phase("wheels", len(pins), "packages") as advance:
        for pin, wheel in zip(pins, wheels, strict=True):
            records_made.append(_package(pin, wheel, extras.get(wheel.name, ()), target, work))
            advance(1)
    records = tuple(sorted(records_made, key=lambda record: record.path))
    rows = [{"fn": record.fn, "url": record.url, "raw": dict(record.raw)} for record in records]
    atomic.write(note, json.dumps(rows).encode())
    return records


def _package(
    pin: WheelPin, wheel: Wheel, extras: tuple[str, ...], target: WheelTarget, work: WheelWork
) -> Record:
    fit = fit_of(wheel, target.machine, target.profile)
    with atomic.os_errors_at(work.scratch):
        beneath.make_folders(work.scratch)
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=work.scratch) as name:
        origin = None
        if pin.is_direct:
            origin = {
                "url": redact_url(pin.url),
                "archive_info": {"hashes": {"sha256": pin.sha256}},
            }
        how = Conversion(
            target.machine, fit, extras, work.names.conda_name, Path(name), pin.sha256, origin
        )
        spec = convert_wheel(wheel, how)
        packed = pack(spec, work.scratch, work.archive_format, progress=work.progress)
    work.store.add(packed.path, packed.record.sha256, "move")
    # The archive is in the store; where the wheel came from is what people ask for.
    return Record.of(packed.record.raw, packed.record.fn, redact_url(pin.url))


def _extras(
    wheels: Iterable[Wheel], requested: Mapping[str, frozenset[str]], machine: Machine
) -> dict[str, tuple[str, ...]]:
    """The extras of each distribution that the label or any of the wheels asks for."""
    extras: dict[str, set[str]] = {name: set(values) for name, values in requested.items()}
    wheel_by_name = {wheel.name: wheel for wheel in wheels}
    waiting = list(wheel_by_name)
    while waiting:
        wheel = wheel_by_name[waiting.pop()]
        for needed in applicable(
            parse_requirements(wheel.requires), machine, extras.get(wheel.name, ())
        ):
            name = needed.name.lower().replace("_", "-").replace(".", "-")
            new = needed.extras - extras.get(name, set())
            if new and name in wheel_by_name:
                extras.setdefault(name, set()).update(new)
                waiting.append(name)
    return {name: tuple(sorted(values)) for name, values in extras.items()}


def _note_path(
    pins: Sequence[WheelPin],
    requested: Mapping[str, frozenset[str]],
    target: WheelTarget,
    work: WheelWork,
) -> Path:
    """Where it is noted what these wheels became; another target, name or format, another note."""
    facts = [
        _CONVERTER,
        [[pin.fn, pin.sha256, pin.is_direct] for pin in pins],
        [work.names.conda_name(pin.name) for pin in pins],
        {name: sorted(values) for name, values in requested.items()},
        [target.machine.subdir, target.machine.short, target.machine.has_python_abi],
        [str(package) for package in target.profile.virtual_packages],
        work.archive_format,
        work.names.fingerprint,
    ]
    return work.store.root / "wheels" / f"{hashlib.sha256(canonical(facts)).hexdigest()}.json"


def _recall(note: Path, store: Store) -> tuple[Record, ...]:
    """The packages that a note tells of, if the store still has all of them."""
    try:
        rows: list[Any] = json.loads(atomic.read(note, 64 * _LIMIT))
        records = tuple(Record.of(row["raw"], row["fn"], row["url"]) for row in rows)
    except (RepackError, ValueError, KeyError, TypeError):
        return ()
    return records if all(store.contains_record(record) for record in records) else ()


def _fetch_all(pins: Sequence[WheelPin], work: WheelWork) -> None:
    """Get every wheel that the store lacks; what is missing is told together."""
    missing = [pin for pin in pins if not work.store.path(Digest(pin.sha256)).is_file()]
    faults: list[RepackError] = []
    with (
        work.progress.phase("fetch wheels", len(missing), "files") as advance,
        ThreadPoolExecutor(_THREADS) as pool,
    ):

        def fetch(pin: WheelPin) -> None:
            try:
                work.upstream.first_of(pin.url, lambda location: _fetch_one(location, pin, work))
            except (FetchError, IntegrityError) as error:
                faults.append(error)
            advance(1)

        list(pool.map(fetch, missing))
    if faults:
        kind = type(faults[0]) if len({type(fault) for fault in faults}) == 1 else FetchError
        raise kind(
            f"{len(faults)} of {len(pins)} wheels could not be had",
            got="".join(f"\n    {fault.where or ''}: {fault.what}" for fault in faults[:50]),
            hint=faults[0].hint,
        )


def _fetch_one(location: str, pin: WheelPin, work: WheelWork) -> None:
    path = work.scratch / f"{pin.sha256}.whl"
    digest, size = hashlib.sha256(), 0
    with work.upstream.open(location) as response, atomic.writing(path) as out:
        while chunk := response.read(atomic.CHUNK):
            digest.update(chunk)
            out.write(chunk)
            size += len(chunk)
            if size > _MAX_WHEEL:
                raise IntegrityError("the wheel is too large", where=redact_url(location))
    if digest.hexdigest() != pin.sha256:
        atomic.remove(path)
        raise IntegrityError(
            "this is not the wheel that was pinned",
            where=redact_url(location),
            expected=pin.sha256,
            got=digest.hexdigest(),
        )
    work.store.add(path, Digest(pin.sha256), "move")
