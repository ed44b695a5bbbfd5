"""Wheels beside the conda packages of a label: what is asked for, and which serve.

A lock names wheels by their hash; they are taken as they are. What is only asked for by name is chosen
by uv with the conda packages as given. Where conda has a package for what a wheel needs, the label's
``wheels.instead`` decides, and the conda packages are solved once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct, field
from msgspec.structs import replace

from repack.errors import LabelError, Problem, UnsolvableError, UsageError
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from repack.conda.record import Record
    from repack.inputs.pins import LockedPackages, WheelPin
    from repack.label.label import Label
    from repack.solve.solution import SolveRequest
    from repack.wheels.choose import WheelRequest
    from repack.wheels.requirements import Machine


class WheelNeeds(Struct, frozen=True):
    """What a label asks of PyPI.

    Attributes:
        pins: the wheels that a foreign lock names, per subdir.
        requirements: PEP 508 texts.
        local: wheels on disk that the label names.
        notes: what was skipped, a line each.
    """

    pins: Mapping[str, tuple[WheelPin, ...]] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    local: tuple[WheelPin, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no wheel is asked for."""
        return not (any(self.pins.values()) or self.requirements or self.local)


class WheelSettings(Value, frozen=True):
    """What choosing wheels takes from the machine: variables and files of pip and uv.

    Attributes:
        home: where pip's settings are.
        cache: a folder for what uv fetches.
    """

    hidden_fields: ClassVar = ("environment",)

    environment: Mapping[str, str]
    home: Path
    cache: Path


def read_wheel_needs(label: Label, source: LockedPackages | None) -> WheelNeeds:
    """What the label and its source file ask for, as the label's policy has it.

    Raises:
        LabelError: wheels are refused, and the source names some.
        PlaceError: a wheel on disk cannot be read.
    """
    policy = label.wheels
    pins = source.wheels if source else {}
    requirements = source.requirements if source else ()
    if policy.mode != "take":
        named = dict.fromkeys(str(pin) for group in pins.values() for pin in group)
        wheels = [*named, *requirements]
        if wheels and policy.mode == "refuse":
            hint = "write 'wheels: take', or take it out of the file"
            where = f"label {label.name}"
            raise LabelError([Problem(where, f"{one} is a wheel", hint) for one in wheels])
        return WheelNeeds(notes=tuple(f"{one} is a wheel; it was skipped" for one in wheels))
    paths = [text for text in policy.packages if text.endswith(".whl")]
    local: tuple[WheelPin, ...] = ()
    if paths:
        from repack.wheels.choose import local_wheel

        local = tuple(local_wheel(path) for path in paths)
    asked = (*requirements, *(text for text in policy.packages if text not in paths))
    return WheelNeeds(pins, asked, local)


def are_served(
    needs: WheelNeeds, wheels: Mapping[str, Sequence[WheelPin]], subdirs: Sequence[str]
) -> bool:
    """Whether the wheels of a lock still are what is asked for."""
    if needs.is_empty:
        return not any(wheels.values())
    from repack.wheels.choose import satisfies

    for subdir in subdirs:
        pins = wheels.get(subdir, ())
        digests = {pin.sha256 for pin in pins}
        named = (*needs.pins.get(subdir, ()), *needs.local)
        if any(pin.sha256 not in digests for pin in named):
            return False
        if not satisfies(pins, needs.requirements):
            return False
    return True


class WheelChooser(Struct, frozen=True):
    """Chooses the wheels of one subdir after another.

    Attributes:
        solve: solves a request from upstream.
        offered: the names that upstream has for a subdir.
    """

    label: Label
    needs: WheelNeeds
    settings: WheelSettings
    solve: Callable[[SolveRequest], tuple[Record, ...]]
    offered: Callable[[str], frozenset[str]]

    def choose(self, request: SolveRequest) -> tuple[tuple[WheelPin, ...], tuple[Record, ...]]:
        """The wheels, and the conda packages that they stand beside.

        Args:
            request: what is solved for, wheels aside.

        Raises:
            UnsolvableError: with the explanation of uv or of the solver.
            UsageError: the label has no python, or uv is not installed.
            IntegrityError: a distribution has no wheel for the target.
        """
        from repack.wheels.choose import choose_wheels, requirement_names
        from repack.wheels.names import NameMapping

        subdir, needs = request.profile.subdir, self.needs
        names = NameMapping(self.label.wheels.names)
        locked = {pin.name: pin for pin in needs.pins.get(subdir, ())}
        records = self.solve(request)
        if not needs.requirements and not needs.local:
            return tuple(locked[name] for name in sorted(locked)), records
        named = requirement_names(needs.requirements) | {pin.name for pin in needs.local}
        tried: set[str] = set()
        while True:
            chosen = choose_wheels(self._wheel_request(request, records), names)
            pins = {pin.name: pin for pin in chosen} | locked
            wheels = tuple(pins[name] for name in sorted(pins))
            needed = {names.conda_name(name) for name in pins.keys() - named - locked.keys()}
            new = needed - tried if self.label.wheels.instead == "conda" else set()
            new = new & self.offered(subdir) if new else new
            if not new:
                return wheels, records
            tried |= new
            try:
                records = self.solve(replace(request, specs=(*request.specs, *sorted(tried))))
            except UnsolvableError:
                # They do not fit together; what conda cannot bring comes as a wheel.
                return wheels, records

    def _wheel_request(self, request: SolveRequest, records: Sequence[Record]) -> WheelRequest:
        from repack.wheels.choose import WheelRequest, user_index

        settings = self.settings
        return WheelRequest(
            requirements=self.needs.requirements,
            local=self.needs.local,
            records=records,
            profile=request.profile,
            machine=machine_of(records, request.profile.subdir),
            index=self.label.wheels.index or user_index(settings.environment, settings.home),
            environment=settings.environment,
            cache=settings.cache,
            exclude_newer=request.exclude_newer,
        )


def machine_of(records: Sequence[Record], subdir: str) -> Machine:
    """The target's CPython, as the conda packages have it.

    Raises:
        UsageError: there is none.
    """
    from repack.wheels.requirements import Machine

    python = next((record for record in records if record.name == "python"), None)
    if python is None:
        raise UsageError(
            f"wheels need python, and {subdir} has none", hint="name python in 'packages'"
        )
    has_abi = any(record.name == "python_abi" for record in records)
    return Machine(subdir, python.version, has_abi)
