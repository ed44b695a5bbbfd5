"""Python's requirements as conda's MatchSpecs.

Sources of the two formats: PEP 508 and PEP 440 on one side, conda's MatchSpec on the other. What
conda cannot say is said as closely as it can, on the strict side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from scripts.environment_yml import CONDA_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.specifiers import Specifier

# What `packaging` puts in for a marker, per subdir (the machine that runs this must not matter).
_SYSTEMS: Final = {
    "linux-64": {
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "platform_release": "",
        "platform_version": "",
    },
    "win-64": {
        "os_name": "nt",
        "sys_platform": "win32",
        "platform_machine": "AMD64",
        "platform_system": "Windows",
        "platform_release": "10",
        "platform_version": "10.0.17763",
    },
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What a marker asks about: a subdir and a full CPython version."""

    subdir: str
    python: str

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


def needed(requirements: Iterable[str], machine: Machine) -> list[str]:
    """Those requirements that hold on ``machine``, without their markers and extras."""
    found = set()
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate(machine.markers()):
            found.add(f"{canonicalize_name(requirement.name)}{requirement.specifier}")
    return sorted(found)


def depends(requirements: Iterable[str], machine: Machine) -> list[str]:
    """The MatchSpecs of those requirements that hold on ``machine``."""
    parsed = map(Requirement, needed(requirements, machine))
    return sorted(
        f"{CONDA_NAMES.get(one.name, one.name)} {versions(one.specifier)}".rstrip()
        for one in parsed
    )


def versions(specifiers: SpecifierSet) -> str:
    """A set of version specifiers in conda's spelling, empty for any version."""
    parts = {part for one in specifiers for part in _clauses(one)}
    return ",".join(sorted(parts, key=lambda part: (not part.startswith(">"), part)))


def python_versions(requires: str | None) -> str:
    """``Requires-Python`` as a dependency on ``python``."""
    return f"python {versions(SpecifierSet(requires or ''))}".rstrip()


def _clauses(one: Specifier) -> list[str]:
    operator, version = one.operator, one.version.lower()
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
