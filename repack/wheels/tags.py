"""Which machine a wheel runs on, in conda's words.

Sources: PEP 425 (compatibility tags), PEP 600 (manylinux), PyPA "Platform compatibility tags"
(musllinux, macOS); conda's virtual packages (CEP 30).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.errors import IntegrityError

if TYPE_CHECKING:
    from packaging.tags import Tag

    from repack.conda.virtual_packages import TargetProfile
    from repack.wheels.requirements import Machine
    from repack.wheels.wheel import Wheel

_ARCHITECTURES: Final = {
    "linux-64": ("x86_64",),
    "linux-aarch64": ("aarch64",),
    "linux-ppc64le": ("ppc64le",),
    "linux-s390x": ("s390x",),
    "linux-armv7l": ("armv7l",),
    "osx-64": ("x86_64", "intel", "universal2", "universal", "fat64"),
    "osx-arm64": ("arm64", "universal2"),
    "win-64": ("win_amd64",),
    "win-32": ("win32",),
    "win-arm64": ("win_arm64",),
}
_MANYLINUX: Final = re.compile(r"manylinux_(\d+)_(\d+)_(\w+)\Z")
_OLD_MANYLINUX: Final = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_MACOS: Final = re.compile(r"macosx_(\d+)_(\d+)_(\w+)\Z")
_CPYTHON: Final = re.compile(r"cp3(\d+)\Z")


class Fit(Struct, frozen=True):
    """How a wheel fits a machine.

    Attributes:
        depends: MatchSpecs that its tag asks for: python, ``__glibc``, ``__osx``.
        rank: lower fits better, for choosing among several.
    """

    depends: tuple[str, ...]
    rank: tuple[int, ...]


def fit_of(wheel: Wheel, machine: Machine, profile: TargetProfile) -> Fit:
    """The best way in which a wheel fits a machine.

    Raises:
        IntegrityError: it does not; names its tags and the profile.
    """
    fits = [fit for tag in wheel.tags if (fit := fit_of_tag(tag, machine, profile)) is not None]
    if not fits:
        offered = {p.name: p.version for p in profile.virtual_packages}
        has = ", ".join(f"{name}={version}" for name, version in sorted(offered.items()))
        raise IntegrityError(
            "the wheel does not run on this target",
            where=wheel.fn,
            expected=f"a tag for {profile.subdir}, CPython {machine.short}, {has}",
            got=", ".join(sorted(str(tag) for tag in wheel.tags)),
            hint=_hint(wheel, profile),
        )
    return min(fits, key=lambda fit: fit.rank)


def fit_of_tag(tag: Tag, machine: Machine, profile: TargetProfile) -> Fit | None:
    """How one tag fits, or None when it does not."""
    python = _python(tag, machine)
    platform = _platform(tag.platform, profile)
    if python is None or platform is None:
        return None
    return Fit((*python.depends, *platform.depends), (*platform.rank, *python.rank))


def _python(tag: Tag, machine: Machine) -> Fit | None:
    """The interpreter and ABI of a tag against the target's CPython."""
    minor = int(machine.short.split(".")[1])
    after = f"3.{minor + 1}"
    if tag.abi == machine.tag and tag.interpreter == machine.tag:
        abi = (f"python_abi {machine.short}.*",) if machine.has_python_abi else ()
        return Fit((f"python >={machine.short},<{after}.0a0", *abi), (0,))
    match = _CPYTHON.match(tag.interpreter)
    if tag.abi == "abi3" and match and int(match[1]) <= minor:
        return Fit((f"python >=3.{match[1]}",), (1, minor - int(match[1])))
    if tag.abi == "none" and (tag.interpreter == machine.tag or (match and int(match[1]) <= minor)):
        exact = tag.interpreter == machine.tag
        spec = (
            f"python >={machine.short},<{after}.0a0"
            if exact
            else f"python >=3.{match[1] if match else 0}"
        )
        return Fit((spec,), (2,))
    generic = re.fullmatch(r"py3(\d*)", tag.interpreter)
    if tag.abi == "none" and generic and int(generic[1] or 0) <= minor:
        return Fit((), (3, minor - int(generic[1] or 0)))
    return None


def _platform(platform: str, profile: TargetProfile) -> Fit | None:
    if platform == "any":
        return Fit((), (9,))
    subdir, offered = profile.subdir, {p.name: p.version for p in profile.virtual_packages}
    names = _ARCHITECTURES.get(subdir, ())
    if subdir.startswith("win-"):
        return Fit((), (0,)) if platform in names else None
    if subdir.startswith("osx-"):
        match = _MACOS.match(platform)
        if not match or match[3] not in names:
            return None
        needs = (int(match[1]), int(match[2]))
        return _bounded("__osx", needs, offered.get("__osx"))
    match = _MANYLINUX.match(platform)
    if match:
        needs, architecture = (int(match[1]), int(match[2])), match[3]
    else:
        family, _, architecture = platform.partition("_")
        if family not in _OLD_MANYLINUX:
            # Plain `linux_x86_64` says nothing of glibc; it was built on the vendor's own machine.
            return Fit((), (8,)) if family == "linux" and architecture in names else None
        needs = _OLD_MANYLINUX[family]
    return _bounded("__glibc", needs, offered.get("__glibc")) if architecture in names else None


def _bounded(name: str, needs: tuple[int, int], offered: str | None) -> Fit | None:
    """A tag that asks for a least version; a profile that does not have it cannot run it."""
    numbers = [int(part) for part in (offered or "").split(".")[:2] if part.isdigit()]
    if not numbers or (*numbers, 0)[:2] < needs:
        return None
    version = f"{needs[0]}.{needs[1]}"
    # A wheel with several tags asks for the least of them.
    return Fit((f"{name} >={version}",), (1, *needs))


def _hint(wheel: Wheel, profile: TargetProfile) -> str:
    least = sorted(
        (int(match[1]), int(match[2]))
        for tag in wheel.tags
        if (match := _MANYLINUX.match(tag.platform)) and profile.subdir.startswith("linux-")
    )
    if least:
        glibc = f"{least[0][0]}.{least[0][1]}"
        return f'if such targets have it, write __glibc: "{glibc}" below platforms.{profile.subdir}'
    return "take another wheel, or the conda package"
