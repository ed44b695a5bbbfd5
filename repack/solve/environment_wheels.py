"""The wheels of a prepared environment: for what pip installed there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from repack.errors import IntegrityError, LabelError, PlaceError, Problem
from repack.inputs.pins import WheelPin, wheel_pin
from repack.solve import lockfile
from repack.solve.wheels import WheelNeeds, are_served, machine_of, read_wheel_needs

if TYPE_CHECKING:
    from repack.inputs.pip_distributions import PipDistribution
    from repack.inputs.prepared_environment import Harvest
    from repack.label.label import Label
    from repack.solve.resolve import Baseline
    from repack.solve.solution import SolveRequest
    from repack.solve.wheels import WheelSettings
    from repack.wheels.names import NameMapping

_HINT: Final = (
    "make a wheel (pip wheel) and name it in the label's wheels.packages, or `wheels: skip`"
)
# What updates itself over conda's in most environments; nothing that is delivered depends on it.
_TOOLS: Final = frozenset({"pip", "setuptools", "wheel"})


class EnvironmentWheels(Struct, frozen=True):
    """What came of an environment's distributions.

    Attributes:
        warnings: what was left out, a line each.
    """

    pins: tuple[WheelPin, ...] = ()
    warnings: tuple[str, ...] = ()


def wheels_of_environment(
    label: Label,
    taken: Harvest,
    request: SolveRequest,
    baseline: Baseline,
    settings: WheelSettings,
) -> EnvironmentWheels:
    """The wheels for what pip installed, by the label's policy, and those that the label names.

    A wheel that the label's lock names with its hash is taken as it is; nothing is asked then.

    Raises:
        LabelError: wheels are refused, or a distribution is none that a wheel can stand for.
        UnsolvableError: with uv's explanation.
        UsageError: uv is not installed.
        IntegrityError: a distribution has no wheel for the target, or the lock is damaged.
    """
    policy, subdir = label.wheels, taken.subdir
    if not taken.distributions and not policy.packages:
        return EnvironmentWheels()
    where = taken.info.prefix
    if policy.mode != "take":
        texts = [f"{one} was installed by pip" for one in taken.distributions]
        if policy.mode == "refuse" and texts:
            hint = "write 'wheels: take', or take it out of the environment"
            raise LabelError([Problem(where, text, hint) for text in texts])
        return EnvironmentWheels(warnings=tuple(f"{text}; it was skipped" for text in texts))
    from repack.wheels.choose import WheelRequest, choose_wheels, user_index
    from repack.wheels.names import NameMapping

    names = NameMapping(policy.names)
    needs, warnings = _needs(label, taken, names)
    locked = _locked(baseline, subdir)
    if _asked_for(needs) == {pin.name for pin in locked} and are_served(
        needs, {subdir: locked}, (subdir,)
    ):
        # A lock does not say whether somebody named this very file.
        direct = {pin.sha256: pin for pin in needs.local}
        return EnvironmentWheels(tuple(direct.get(pin.sha256, pin) for pin in locked), warnings)
    pins = choose_wheels(
        WheelRequest(
            requirements=needs.requirements,
            local=needs.local,
            records=taken.records,
            profile=request.profile,
            machine=machine_of(taken.records, subdir),
            index=policy.index or user_index(settings.environment, settings.home),
            environment=settings.environment,
            cache=settings.cache,
        ),
        names,
    )
    added = [f"{pin}" for pin in pins if pin.name not in _asked_for(needs)]
    warnings += tuple(
        f"{one} is not in the environment; what pip installed needs it" for one in added
    )
    return EnvironmentWheels(pins, warnings)


def _needs(label: Label, taken: Harvest, names: NameMapping) -> tuple[WheelNeeds, tuple[str, ...]]:
    """What is asked for: what the label names, and every other distribution as it is installed."""
    needs = read_wheel_needs(label, None)
    named = _asked_for(needs)
    record_by_name = {record.name: record for record in taken.records}
    requirements, local = list(needs.requirements), list(needs.local)
    warnings: list[str] = []
    problems: list[Problem] = []
    for one in taken.distributions:
        if one.name in named:
            continue
        if record := record_by_name.get(names.conda_name(one.name)):
            text = f"{one} was installed by pip over conda's {record.name} {record.version}"
            if one.name in _TOOLS:
                warnings.append(f"{text}, which is taken")
                continue
            hint = f"install {record.name} anew by conda, or by pip alone"
            problems.append(Problem(taken.info.prefix, text, hint))
        elif one.fault:
            problems.append(Problem(taken.info.prefix, f"{one} {one.fault}", _HINT))
        elif one.url is None:
            requirements.append(f"{one.name}=={one.version}")
        else:
            try:
                local.append(_direct(one, one.url))
            except (ValueError, IntegrityError, PlaceError) as fault:
                problems.append(Problem(taken.info.prefix, f"{one}: {fault}", _HINT))
    if problems:
        raise LabelError(problems, where=label.name)
    return replace(needs, requirements=tuple(requirements), local=tuple(local)), tuple(warnings)


def _direct(one: PipDistribution, url: str) -> WheelPin:
    """The very wheel that pip installed."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path.endswith(".whl"):
        from repack.wheels.choose import local_wheel

        pin = local_wheel(unquote(parts.path))
        if one.sha256 and pin.sha256 != one.sha256:
            raise ValueError("the wheel is not the one that was installed")
        return pin
    return replace(wheel_pin(url, one.sha256, one.name, one.version), is_direct=True)


def _asked_for(needs: WheelNeeds) -> frozenset[str]:
    from repack.wheels.choose import requirement_names

    return requirement_names(needs.requirements) | {pin.name for pin in needs.local}


def _locked(baseline: Baseline, subdir: str) -> tuple[WheelPin, ...]:
    if not baseline.is_kept or not baseline.lock.is_file():
        return ()
    return lockfile.read_lock(baseline.lock).wheels.get(subdir, ())
