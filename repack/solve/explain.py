"""Why a label has no solution, in terms of the label: which line asks for what is not on offer.

The solver's explanation names packages. Three causes can be named by the line of the label: a package
that no channel has, a bound above all that is on offer, and a target profile that lacks what packages
need. The last is told apart by solving again for a newer machine; what is then proposed has been solved
for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.conda.dependencies import dependency_name
from repack.conda.match_spec import is_in_bound, matches_spec, spec_name
from repack.conda.virtual_packages import TargetProfile, profile_names
from repack.errors import Problem, RepackError, UnsolvableError
from repack.label.write import profile_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from repack.conda.record import Record
    from repack.label.label import Label
    from repack.solve.solution import SolveRequest

# Machines newer than any there is; without a graphics card first, as most are.
_NEWEST: Final = (
    {"__glibc": "2.99", "__linux": "99", "__win": "99"},
    {"__glibc": "2.99", "__linux": "99", "__win": "99", "__cuda": "99"},
)
_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")


class Upstreams(Struct, frozen=True):
    """The label's channels, to be asked.

    Attributes:
        solve: a request.
        offered: the names of all packages for a subdir.
        packages: the records of some names for a subdir, as rattler has them.
    """

    solve: Callable[[SolveRequest], tuple[Record, ...]]
    offered: Callable[[str], frozenset[str]]
    packages: Callable[[str, Sequence[str]], list[Any]]


def explain(
    error: UnsolvableError, label: Label, request: SolveRequest, upstreams: Upstreams
) -> UnsolvableError:
    """``error`` with the causes that could be found; as it is where there are none."""
    (subdir, explanation), *_ = error.explanations.items()
    try:
        problems = list(_unmet_specs(label, request, upstreams))
        needs: dict[str, str] = {}
        if not problems:
            needs, reasons = find_profile_needs(request, upstreams.solve)
            problems = [_profile_problem(label, request, needs, reasons)] if needs else []
    except RepackError:
        return error
    return UnsolvableError(subdir, explanation, error.advice, problems, needs)


def _unmet_specs(label: Label, request: SolveRequest, upstreams: Upstreams) -> Iterator[Problem]:
    subdir = request.profile.subdir
    groups = (("packages", request.specs), ("constraints", request.constraints))
    names = sorted({name for _, specs in groups for spec in specs if (name := spec_name(spec))})
    records: dict[str, list[Any]] = {name: [] for name in names}
    for record in upstreams.packages(subdir, names):
        records.setdefault(record.name.normalized, []).append(record)
    for key, specs in groups:
        for spec in specs:
            name, place = spec_name(spec), _place(label, key, spec)
            offered = records.get(name, [])
            if not name or (not offered and key == "constraints"):
                continue
            if not offered:
                yield Problem(
                    place, f"no channel has a package {name!r} for {subdir}",
                    _near(name, upstreams.offered(subdir)),
                )  # fmt: skip
                continue
            fitting = [record for record in offered if matches_spec(spec, record)]
            if not fitting:
                newest = max(offered, key=lambda record: record.version).version
                what = f"{spec!r} is not on offer for {subdir}; the newest {name} is {newest}"
                yield Problem(place, what, f"write '{name} <={newest}', or add a channel with it")
            elif request.exclude_newer and all(_is_newer(r, request) for r in fitting):
                what = f"'exclude_newer' hides every {spec!r} for {subdir}"
                yield Problem(
                    label.places.get("exclude_newer", place), what, _older(offered, request, name)
                )


def _is_newer(record: Any, request: SolveRequest) -> bool:
    moment = record.timestamp
    return moment is not None and request.exclude_newer is not None and (
        moment.timestamp() > request.exclude_newer.timestamp()
    )  # fmt: skip


def _older(offered: Iterable[Any], request: SolveRequest, name: str) -> str | None:
    old = [record for record in offered if not _is_newer(record, request)]
    if not old:
        return "take a later day"
    newest = max(old, key=lambda record: record.version).version
    return f"take a later day, or write '{name} <={newest}'"


def _place(label: Label, key: str, spec: str) -> str:
    places = label.places
    return places.get(f"{key}:{spec}") or places.get("from") or f"label {label.name}"


def _near(name: str, names: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, [n for n in names if not n.startswith("__")], n=1)
    return f"did you mean '{near[0]}'?" if near else "add a channel that has it"


def find_profile_needs(
    request: SolveRequest, solve: Callable[[SolveRequest], tuple[Record, ...]]
) -> tuple[dict[str, str], list[str]]:
    """With which virtual packages ``request`` has a solution, when it has none as it is.

    Returns:
        The values that have to change, the least that serve; and which package needs what. Both are
        empty where the profile is not the cause.

    Raises:
        RepackError: a channel cannot be read.
    """
    profile = request.profile
    for newest in _NEWEST:
        known = {k: v for k, v in newest.items() if k in profile_names(profile.subdir)}
        try:
            records = solve(replace(request, profile=_with(profile, known)))
        except UnsolvableError:
            continue
        needs, reasons = _needs(records, profile)
        try:
            if needs:
                solve(replace(request, profile=_with(profile, needs)))
                return needs, reasons
        except UnsolvableError:
            continue
    return {}, []


def _with(profile: TargetProfile, values: Mapping[str, str]) -> TargetProfile:
    overrides = {**profile.overrides, **values}
    overrides.pop("conda", None)
    return TargetProfile.of(profile.subdir, overrides, profile.conda)


def _needs(records: Iterable[Record], profile: TargetProfile) -> tuple[dict[str, str], list[str]]:
    specs: dict[str, dict[str, str]] = {}
    for record in records:
        for spec in record.depends:
            name = dependency_name(spec)
            if name in profile_names(profile.subdir):
                specs.setdefault(name, {})[spec] = f"{record.name} {record.version}"
    has = {package.name: package.version for package in profile.virtual_packages}
    needs, reasons = {}, []
    for name, users in sorted(specs.items()):
        unmet = [spec for spec in users if not _fits(name, has.get(name), spec)]
        values = sorted(
            {v for spec in users for v in _VERSION.findall(spec[len(name) :])}, key=_key
        )
        value = next((v for v in values if all(_fits(name, v, spec) for spec in users)), None)
        if unmet and value is not None:
            needs[name] = value
            now = f"has {has[name]}" if name in has else "has none"
            reasons.append(f"{users[unmet[0]]} needs {unmet[0]}, the profile {now}")
    return needs, reasons


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _fits(name: str, version: str | None, spec: str) -> bool:
    bound = spec.removeprefix(name).strip()
    if version is None or not bound:
        return version is not None
    return is_in_bound(version, bound.split()[0])


def _profile_problem(
    label: Label, request: SolveRequest, needs: Mapping[str, str], reasons: Sequence[str]
) -> Problem:
    subdir = request.profile.subdir
    place = label.places.get(f"platforms:{subdir}") or label.places.get("platforms", "")
    values = {**request.profile.overrides, **needs}
    if ":" in place.rpartition("/")[2]:
        line = profile_line(subdir, values, as_json=".json:" in place)
    else:
        pairs = ",".join(f"{name}={value or ''}" for name, value in values.items())
        line = f"-p {subdir}={pairs}"
    return Problem(
        place or f"label {label.name}",
        f"{subdir}: {'; '.join(reasons)}",
        f"if the targets have it, write {line}",
    )
