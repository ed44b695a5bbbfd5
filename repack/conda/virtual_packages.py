"""The virtual packages of a customer's machine; those of the machine that builds never count.

The defaults are the oldest system that conda-forge's packages are built for (CentOS 7: glibc 2.17,
kernel 3.10) and, on Windows, version 0: conda's own way to say "a Windows, nothing more is known".
Source of names and forms: CEP 30, "Virtual packages". ``__archspec`` has version 1 and carries the
microarchitecture as its build string.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct

from repack.codec.tree import Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repack.codec.tree import ProblemList, View

_DEFAULTS: Final[dict[str, dict[str, str]]] = {
    "linux-64": {
        "__archspec": "x86_64",
        "__glibc": "2.17",
        "__linux": "3.10",
        "__unix": "0",
    },
    "win-64": {
        "__archspec": "x86_64",
        "__win": "0",
    },
}


# Those that a profile may have beside its defaults: null there is no value but "not there".
_OPTIONAL: Final = frozenset({"__cuda"})
_VALUE: Final = re.compile(r"[0-9]+(\.[0-9A-Za-z]+)*")
_MICROARCHITECTURE: Final = re.compile(r"[a-z0-9_]+")
# rattler's words for a dependency, and for a MatchSpec of the label's own.
_MISSING: Final = re.compile(
    r"(?P<name>__\w+)(?P<spec> [^\n]*?)?, for which no candidates were found"
    r"|No candidates were found for (?P<top>__\w+)(?P<top_spec> [^\n]*?)?\.(?=\s|\Z)"
)
_OVERRIDE: Final = "CONDA_OVERRIDE_"


class VirtualPackage(Struct, frozen=True):
    """A property of a machine that the solver sees as a package, such as ``__glibc``."""

    name: str
    version: str
    build: str = "0"

    @classmethod
    def of(cls, name: str, value: str) -> Self:
        """The package as a label writes it, ``__glibc: "2.17"`` or ``__archspec: skylake``."""
        if name == "__archspec":
            return cls(name, "1", value)
        return cls(name, value)

    def __str__(self) -> str:
        return f"{self.name}={self.version}={self.build}"


class TargetProfile(Struct, frozen=True):
    """One target platform.

    Attributes:
        subdir: ``linux-64`` or ``win-64``.
        virtual_packages: all that the solver is told of the machine, sorted by name.
        conda: the oldest conda in use on such machines; None where the label names none.
    """

    subdir: str
    virtual_packages: tuple[VirtualPackage, ...]
    conda: str | None = None

    @classmethod
    def of(
        cls,
        subdir: str,
        overrides: Mapping[str, str | None] | None = None,
        conda: str | None = None,
    ) -> Self:
        """The defaults of ``subdir`` with ``overrides``, of which None removes a package."""
        values: dict[str, str | None] = {**_DEFAULTS[subdir], **(overrides or {})}
        packages = (
            VirtualPackage.of(name, value)
            for name, value in sorted(values.items())
            if value is not None
        )
        return cls(subdir, tuple(packages), conda)

    @property
    def overrides(self) -> dict[str, str | None]:
        """What differs from the defaults of the subdir, as a label writes it."""
        values = {p.name: p.build if p.name == "__archspec" else p.version
                  for p in self.virtual_packages}  # fmt: skip
        usual = _DEFAULTS[self.subdir]
        gone: dict[str, str | None] = {name: None for name in usual if name not in values}
        changed = {name: value for name, value in values.items() if usual.get(name) != value}
        return {**gone, **changed, **({"conda": self.conda} if self.conda else {})}

    @property
    def reads_conda_archives(self) -> bool:
        """Whether the oldest conda can read ``.conda``, which came with 4.7."""
        if self.conda is None:
            return True
        numbers = [int(part) for part in self.conda.split(".")[:2] if part.isdigit()]
        return numbers >= [4, 7]


def profile_names(subdir: str) -> frozenset[str]:
    """The virtual packages that a profile of ``subdir`` may name."""
    return frozenset(_DEFAULTS[subdir]) | _OPTIONAL


def measured_overrides(subdir: str, packages: Iterable[VirtualPackage]) -> dict[str, str | None]:
    """What a machine has of the packages that a profile may name, for :meth:`TargetProfile.of`."""
    overrides: dict[str, str | None] = {}
    for package in packages:
        is_arch = package.name == "__archspec"
        value = package.build if is_arch else package.version
        match = (_MICROARCHITECTURE if is_arch else _VALUE).match(value)
        if package.name in profile_names(subdir) and match:
            overrides[package.name] = match.group()
    return overrides


def environment_overrides(subdir: str, environment: Mapping[str, str]) -> dict[str, str | None]:
    """What conda's ``CONDA_OVERRIDE_*`` say; an empty one takes the package away (CEP 30)."""
    overrides: dict[str, str | None] = {}
    for name in profile_names(subdir):
        value = environment.get(_OVERRIDE + name.removeprefix("__").upper())
        if value is not None:
            overrides[name] = value.strip() or None
    return overrides


def missing_virtual_packages(explanation: str, profile: TargetProfile) -> tuple[str, ...]:
    """What packages want of a machine and the profile does not have: a sentence per name.

    Args:
        explanation: rattler's of what cannot be solved.
        profile: what it was solved for.
    """
    wanted: dict[str, dict[str, None]] = {}
    for match in _MISSING.finditer(explanation):
        name, spec = match["name"] or match["top"], match["spec"] or match["top_spec"]
        wanted.setdefault(name, {})[(spec or "any").strip()] = None
    by_name = {package.name: package for package in profile.virtual_packages}
    return tuple(_sentence(name, list(specs), by_name, profile) for name, specs in wanted.items())


def _sentence(
    name: str,
    specs: Sequence[str],
    by_name: Mapping[str, VirtualPackage],
    profile: TargetProfile,
) -> str:
    versions = " or ".join(specs[:3])
    if name not in profile_names(profile.subdir):
        return f"packages need {name} {versions}, which no {profile.subdir} target has"
    package = by_name.get(name)
    value = "none" if package is None else package.build if "arch" in name else package.version
    key = f"platforms.{profile.subdir}.{name}"
    return (
        f"packages need {name} {versions}, and the target profile has {value}: if the targets"
        f" have it, set {key}; else ask for older versions"
    )


def read_profile(subdir: str, table: View, problems: ProblemList) -> TargetProfile:
    """The profile that ``platforms: {SUBDIR: …}`` of a label describes."""
    overrides: dict[str, str | None] = {}
    for key, _, value in table.entries():
        if not key.startswith("__") or not isinstance(value, Scalar):
            continue
        if value.kind == "bool" and value.text.lower() == "true":
            problems.add(value.line, f"'platforms.{subdir}.{key}' needs a version", 'such as "1.0"')
        overrides[key] = value.text if value.kind == "text" else None
    conda = table.text("conda")
    return TargetProfile.of(subdir, overrides, conda.text if conda else None)
