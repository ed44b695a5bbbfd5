"""Python's requirements as conda's MatchSpecs.

Sources of the two formats: PEP 508 and PEP 440 on one side, conda's MatchSpec on the other. What
conda cannot say is said as closely as it can, on the strict side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from packaging.specifiers import Specifier

# What `packaging` puts in for a marker, per subdir (the machine that runs this must not matter).
_POSIX: Final = {"os_name": "posix", "platform_release": "", "platform_version": ""}
_LINUX: Final = {**_POSIX, "sys_platform": "linux", "platform_system": "Linux"}
_MACOS: Final = {**_POSIX, "sys_platform": "darwin", "platform_system": "Darwin"}
_WINDOWS: Final = {
    "os_name": "nt",
    "sys_platform": "win32",
    "platform_system": "Windows",
    "platform_release": "10",
    "platform_version": "10.0.17763",
}
_SYSTEMS: Final = {
    "linux-64": {**_LINUX, "platform_machine": "x86_64"},
    "linux-aarch64": {**_LINUX, "platform_machine": "aarch64"},
    "linux-ppc64le": {**_LINUX, "platform_machine": "ppc64le"},
    "linux-s390x": {**_LINUX, "platform_machine": "s390x"},
    "linux-armv7l": {**_LINUX, "platform_machine": "armv7l"},
    "osx-64": {**_MACOS, "platform_machine": "x86_64"},
    "osx-arm64": {**_MACOS, "platform_machine": "arm64"},
    "win-64": {**_WINDOWS, "platform_machine": "AMD64"},
    "win-32": {**_WINDOWS, "platform_machine": "x86"},
    "win-arm64": {**_WINDOWS, "platform_machine": "ARM64"},
}


class Machine(Struct, frozen=True):
    """What a marker asks about: a subdir and a full CPython version.

    Attributes:
        has_python_abi: whether the target's packages have ``python_abi``, as conda-forge's do.
    """

    subdir: str
    python: str
    has_python_abi: bool = False

    @property
    def short(self) -> str:
        """The version with two places, as in ``python3.11``."""
        return ".".join(self.python.split(".")[:2])

    @property
    def tag(self) -> str:
        """The interpreter tag, as in ``cp311``."""
        return "cp" + self.short.replace(".", "")

    def markers(self) -> dict[str, str]:
        """The values of PEP 508's environment markers, no extra asked for."""
        return {
            **_SYSTEMS[self.subdir],
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "platform_python_implementation": "CPython",
            "python_full_version": self.python,
            "python_version": self.short,
            "extra": "",
        }


def parse_requirements(lines: Iterable[str], where: object = None) -> list[Requirement]:
    """Read ``Requires-Dist`` lines, or the lines that a label or environment file has.

    Raises:
        IntegrityError: one is none.
    """
    requirements = []
    for line in lines:
        try:
            requirements.append(Requirement(line))
        except InvalidRequirement as fault:
            raise IntegrityError(
                f"{line[:120]!r} is no requirement", where=where, got=fault
            ) from fault
    return requirements


def applicable(
    requirements: Iterable[Requirement], machine: Machine, extras: Iterable[str] = ()
) -> list[Requirement]:
    """Those requirements that hold on ``machine`` with any of ``extras``, or without one."""
    environments = [{**machine.markers(), "extra": extra} for extra in ("", *extras)]
    return [
        requirement
        for requirement in requirements
        if requirement.marker is None
        or any(requirement.marker.evaluate(environment) for environment in environments)
    ]


def needed(requirements: Iterable[str], machine: Machine) -> list[str]:
    """Those requirements that hold on ``machine``, without their markers and extras."""
    held = applicable(parse_requirements(requirements), machine)
    return sorted({f"{canonicalize_name(one.name)}{one.specifier}" for one in held})


def depends(
    requirements: Iterable[str],
    machine: Machine,
    extras: Iterable[str] = (),
    conda_name: Callable[[str], str] = canonicalize_name,
) -> list[str]:
    """The MatchSpecs of those requirements that hold on ``machine``.

    Args:
        extras: the extras of this distribution that somebody asks for.
        conda_name: what conda calls a distribution.
    """
    held = applicable(parse_requirements(requirements), machine, extras)
    specs = {f"{conda_name(one.name)} {versions(one.specifier)}".rstrip() for one in held}
    return sorted(specs)


def versions(specifiers: SpecifierSet) -> str:
    """A set of version specifiers in conda's spelling, empty for any version."""
    parts = {part for one in specifiers for part in _clauses(one)}
    return ",".join(sorted(parts, key=lambda part: (not part.startswith(">"), part)))


def python_versions(requires: str | None) -> str:
    """``Requires-Python`` as a dependency on ``python``."""
    return f"python {versions(SpecifierSet(requires or ''))}".rstrip()


def _clauses(one: Specifier) -> list[str]:
    operator, version = one.operator, one.version.lower()
    # conda takes `+` of a local version as part of the version; a spec without it matches none.
    if operator == "~=":
        release = Version(version).release
        return [f">={version}", ".".join(map(str, release[:-1])) + ".*"]
    if operator == "===":
        return [f"=={version}"]
    if operator == "==":
        return [version if version.endswith(".*") else f"=={version}"]
    if operator == "<":
        return [f"<{_before(version)}"]
    return [f"{operator}{version}"]


def _before(version: str) -> str:
    """PEP 440's ``<2`` leaves 2's own pre-releases out, conda's has to be told so."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        return version
    return version if parsed.is_prerelease or parsed.is_postrelease else f"{version}a0"
