"""Checks that installed distributions fit together, as ``pip check`` does.

Source: PEP 508 and PEP 440; pip, ``pip check``: each requirement without an extra must be met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from repack.wheels.requirements import applicable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from repack.prefix.distributions import Distribution
    from repack.wheels.requirements import Machine


class Conflict(Struct, frozen=True):
    """Two distributions that do not fit together.

    Attributes:
        names: theirs, normalized.
        text: a sentence with both.
    """

    names: frozenset[str]
    text: str


def find_conflicts(distributions: Iterable[Distribution], machine: Machine) -> list[Conflict]:
    """What ``pip check`` would find on ``machine``, sorted.

    Lines that are no requirement and versions that PEP 440 does not know are passed over, as pip does.
    """
    by_name: dict[str, Distribution] = {}
    conflicts: list[Conflict] = []
    for one in distributions:
        earlier = by_name.setdefault(one.name, one)
        if earlier is not one:
            text = f"{earlier} and {one} are both installed"
            conflicts.append(Conflict(frozenset({one.name}), text))
    for one in by_name.values():
        conflicts += _unmet(one, by_name, machine)
    return sorted(conflicts, key=lambda conflict: conflict.text)


def _unmet(
    one: Distribution, by_name: dict[str, Distribution], machine: Machine
) -> Iterator[Conflict]:
    for requirement in applicable(_readable(one.requires), machine):
        name = canonicalize_name(requirement.name)
        names = frozenset({one.name, name})
        installed = by_name.get(name)
        if installed is None:
            yield Conflict(names, f"{one} needs {name}{requirement.specifier}, which is not there")
        elif requirement.specifier and not _fits(requirement, installed.version):
            wish = f"{name}{requirement.specifier}"
            yield Conflict(names, f"{one} needs {wish}, and {installed} is there")


def _readable(lines: Iterable[str]) -> list[Requirement]:
    requirements = []
    for line in lines:
        try:
            requirements.append(Requirement(line))
        except InvalidRequirement:
            continue
    return requirements


def _fits(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True
