"""Lists of ``NAME=VERSION=BUILD``: what ``conda list --export`` writes.

Source: conda, ``conda/cli/main_list.py`` (``print_packages`` with ``format="export"``).
"""

from __future__ import annotations

import re
from typing import Final

from repack.inputs.pins import LockedPackages

_LINE: Final = re.compile(r"(?P<name>[^\s=#@/]+)=(?P<version>[^\s=]+)=(?P<build>[^\s=]+)\Z")
_PLATFORM: Final = re.compile(r"#\s*platform:\s*(\S+)", re.IGNORECASE)


def is_export_list(text: str) -> bool:
    """Whether every line but comments is ``NAME=VERSION=BUILD``, and there is one."""
    lines = [line.strip() for line in text.splitlines()]
    packages = [line for line in lines if line and not line.startswith("#")]
    return bool(packages) and all(map(_LINE.match, packages))


def read_export_list(text: str, platforms: tuple[str, ...]) -> LockedPackages:
    """Read its packages as MatchSpecs, since the list has neither files nor hashes.

    What pip installed is asked for in its version.
    """
    specs: list[str] = []
    requirements: list[str] = []
    notes: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if match := _LINE.match(line):
            name, version, build = match.groups()
            if build.startswith("pypi_") or build in {"pypi", "<pip>"}:
                requirements.append(f"{name}=={version}")
            else:
                specs.append(f"{name} =={version} {build}")
        elif match := _PLATFORM.match(line):
            others = [platform for platform in platforms if platform != match[1]]
            if others:
                listed = ", ".join(others)
                notes.append(f"the list is of {match[1]}; its builds may not exist for {listed}")
    return LockedPackages(
        "environment",
        specs=tuple(specs),
        notes=tuple(notes),
        requirements=tuple(requirements),
    )
