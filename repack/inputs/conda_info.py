"""``conda info --json``: where a prepared environment is and where its archives lie.

Source: conda, ``conda/cli/main_info.py``, from 4.3 on. The old ones know no ``active_prefix`` and no
``virtual_pkgs``; there ``default_prefix`` is the active one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from repack.conda.subdir import PLATFORMS
from repack.conda.virtual_packages import VirtualPackage
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_ENV_INFO: Final = 8 << 20
_HINT: Final = "make it with `conda info --json` while the environment is active"


class EnvInfo(Struct, frozen=True):
    """The part of ``conda info --json`` that repack needs.

    Attributes:
        prefix: the environment, as a path of the machine where conda ran.
        pkgs_dirs: its package caches.
        subdir: its platform.
        conda: its version.
        channels: as configured; tokens are hidden by conda.
        virtual_packages: those of the machine where conda ran; a target has its own.
    """

    prefix: str
    pkgs_dirs: tuple[str, ...]
    subdir: str
    conda: str
    channels: tuple[str, ...] = ()
    virtual_packages: tuple[VirtualPackage, ...] = ()


def parse_env_info(data: bytes, where: str) -> EnvInfo:
    """Read the output of ``conda info --json``, in UTF-8 or in the UTF-16 of PowerShell's ``>``.

    Raises:
        UsageError: it is no such output, or repack does not build for the environment's platform.
    """
    try:
        info = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not JSON: {error}"[:200], where=where, hint=_HINT) from None
    if not isinstance(info, dict):
        raise UsageError("not what `conda info --json` prints", where=where, hint=_HINT)
    prefix = next(_prefixes(info), None)
    caches = _texts(info.get("pkgs_dirs"))
    subdir = info.get("platform")
    lacking = [
        name
        for name, value in (("a prefix", prefix), ("pkgs_dirs", caches), ("platform", subdir))
        if not value
    ]
    if prefix is None or lacking:
        raise UsageError(f"the file lacks {', '.join(lacking)}", where=where, hint=_HINT)
    if subdir not in PLATFORMS:
        raise UsageError(
            "the environment's platform is none that repack builds for",
            where=where,
            expected=" or ".join(PLATFORMS),
            got=str(subdir)[:60],
        )
    return EnvInfo(
        prefix=prefix,
        pkgs_dirs=caches,
        subdir=str(subdir),
        conda=str(info.get("conda_version") or "unknown")[:60],
        channels=_texts(info.get("channels")),
        virtual_packages=tuple(_virtual_packages(info.get("virtual_pkgs"))),
    )


def _prefixes(info: Mapping[str, Any]) -> Iterator[str]:
    """Candidates for the active prefix, best first."""
    variables = info.get("env_vars")
    variable = variables.get("CONDA_PREFIX") if isinstance(variables, dict) else None
    for value in (info.get("active_prefix"), variable, info.get("default_prefix")):
        # conda 4.3 prints `<not set>` for a variable that is not there.
        if isinstance(value, str) and value and not value.startswith("<"):
            yield value


def _texts(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(text for text in values if isinstance(text, str) and text)


def _virtual_packages(value: Any) -> Iterator[VirtualPackage]:
    for row in value if isinstance(value, list) else []:
        if isinstance(row, list) and len(row) == 3 and all(isinstance(part, str) for part in row):
            yield VirtualPackage(*row)
