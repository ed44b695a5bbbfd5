"""The wheels of a solution become packages of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from repack.errors import IntegrityError
from repack.solve.wheels import machine_of
from repack.wheels.names import NameMapping
from repack.wheels.take import WheelTarget, WheelWork, package_wheels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repack.conda.record import Record
    from repack.release.context import BuildContext
    from repack.solve.solution import Solution


def with_wheel_packages(solution: Solution, context: BuildContext) -> Solution:
    """``solution`` with its wheels as packages in the store, asked for by name and build.

    Raises:
        FetchError: wheels could not be had.
        IntegrityError: a wheel is damaged or not for its target, or conda has a package of its name.
        SpaceError: the disk is full.
    """
    label, policy = context.label, context.label.wheels
    work = WheelWork(
        store=context.store,
        upstream=context.upstream,
        scratch=context.store.scratch(f"{context.key}.wheels"),
        archive_format=context.archive_format,
        names=NameMapping(policy.names),
        progress=context.progress,
    )
    requested = _extras(text for text in policy.packages if not text.endswith(".whl"))
    records, requests = dict(solution.records), dict(solution.requests)
    for subdir, pins in solution.wheels.items():
        if not pins:
            continue
        target = WheelTarget(machine_of(records[subdir], subdir), label.platforms[subdir])
        packages = package_wheels(pins, requested, target, work)
        _check_twins(records[subdir], packages, subdir)
        records[subdir] = tuple(
            sorted((*records[subdir], *packages), key=lambda record: record.path)
        )
        specs = tuple(f"{r.name} =={r.version} {r.build}" for r in packages)
        request = requests[subdir]
        requests[subdir] = replace(request, specs=(*request.specs, *specs))
    return replace(solution, records=records, requests=requests)


def _extras(requirements: Iterable[str]) -> dict[str, frozenset[str]]:
    extras: dict[str, frozenset[str]] = {}
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        extras[name] = extras.get(name, frozenset()) | requirement.extras
    return extras


def _check_twins(records: Iterable[Record], packages: Iterable[Record], subdir: str) -> None:
    """A name is one package: the wheel's or conda's."""
    by_name = {record.name: record for record in records}
    for package in packages:
        if twin := by_name.get(package.name):
            raise IntegrityError(
                f"both a wheel and a conda package are called {package.name}",
                where=subdir,
                got=f"{twin} and {package}",
                hint="name the wheel's conda name in wheels.names, or leave one of them out",
            )
