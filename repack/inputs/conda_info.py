"""``conda info --json``: where a prepared environment is and where its archives lie.

Source: conda, ``conda/cli/main_info.py``, from 4.3 on. The old ones know no ``active_prefix`` and no
``virtual_pkgs``; there ``default_prefix`` is the active one. What mamba 2 and micromamba print has
the same content under other names (``libmamba/src/api/info.cpp``) and is taken, too.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from repack.codec.canonical import unique_pairs
from repack.conda.subdir import PLATFORMS
from repack.conda.virtual_packages import VirtualPackage
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_ENV_INFO: Final = 8 << 20
_HINT: Final = "make it with `conda info --json` while the environment is active"
_ACTIVATE: Final = "activate the environment first, then run `conda info --json` again"
_PIXI: Final = "write a label with `from: pixi.lock`, or install the packages by conda"
_NUMBERS: Final = re.compile(r"[0-9]+(\.[0-9]+)*")


class EnvInfo(Struct, frozen=True):
    """The part of ``conda info --json`` that repack needs.

    Attributes:
        prefix: the environment, as a path of the machine where conda ran.
        pkgs_dirs: its package caches.
        subdir: its platform.
        conda: its version.
        channels: as configured; tokens are hidden by conda.
        virtual_packages: those of the machine where conda ran.
        config_files: conda's settings that were in use, as paths of that machine.
    """

    prefix: str
    pkgs_dirs: tuple[str, ...]
    subdir: str
    conda: str
    channels: tuple[str, ...] = ()
    virtual_packages: tuple[VirtualPackage, ...] = ()
    config_files: tuple[str, ...] = ()

    @property
    def conda_version(self) -> str | None:
        """The numbers of conda's version; None when it is another program's."""
        match = _NUMBERS.match(self.conda)
        return match.group() if match else None


def parse_env_info(data: bytes, where: str) -> EnvInfo:
    """Read the output of ``conda info --json``, in UTF-8 or in the UTF-16 of PowerShell's ``>``.

    Raises:
        UsageError: it is no such output, no environment was active, or repack does not build for
            the environment's platform.
    """
    info = _conda_names(_json_object(data, where), where)
    prefix = _active_prefix(info, where)
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
    rc_paths = [info.get(key) for key in ("rc_path", "user_rc_path", "sys_rc_path")]
    return EnvInfo(
        prefix=prefix,
        pkgs_dirs=caches,
        subdir=str(subdir),
        conda=str(info.get("conda_version") or "unknown")[:60],
        channels=_texts(info.get("channels")),
        virtual_packages=tuple(_virtual_packages(info.get("virtual_pkgs"))),
        config_files=tuple(dict.fromkeys(_texts(info.get("config_files")) + _texts(rc_paths))),
    )


def _json_object(data: bytes, where: str) -> dict[str, Any]:
    try:
        info = json.loads(data, object_pairs_hook=unique_pairs)
    except (ValueError, RecursionError) as error:
        junk = _text_around(data)
        if junk is None:
            raise UsageError(f"not JSON: {error}"[:200], where=where, hint=_HINT) from None
        raise UsageError(
            "there is other text around the JSON",
            where=where,
            got=junk,
            hint="delete it from the file, or turn off what prints it and make the file again",
        ) from None
    if not isinstance(info, dict):
        raise UsageError("not what `conda info --json` prints", where=where, hint=_HINT)
    return info


def _text_around(data: bytes) -> str | None:
    """What stands before and after the JSON object in ``data``; None when there is no object."""
    try:
        text = data.decode(json.detect_encoding(data))
        start = re.search(r"^\{", text, re.MULTILINE) or re.search(r"\{", text)
        if start is None:
            return None
        document, end = json.JSONDecoder().raw_decode(text, start.start())
    except (ValueError, RecursionError):
        return None
    parts = [" ".join(part.split()) for part in (text[: start.start()], text[end:])]
    junk = " ... ".join(f"'{part[:100]}'" for part in parts if part)
    return junk if isinstance(document, dict) and junk else None


def _conda_names(info: dict[str, Any], where: str) -> dict[str, Any]:
    """``info`` under conda's names, if mamba or micromamba printed it."""
    if "environments_info" in info or "project_info" in info:
        raise UsageError("this is what `pixi info --json` prints", where=where, hint=_PIXI)
    if "env location" not in info:
        return info
    virtual = [text.split("=", 2) for text in _texts(info.get("virtual packages"))]
    location = info["env location"]
    return {
        "active_prefix": location if isinstance(location, str) and location != "-" else None,
        "pkgs_dirs": info.get("package cache"),
        "platform": info.get("platform"),
        "channels": info.get("channels"),
        "virtual_pkgs": virtual,
        "config_files": info.get("populated config files"),
    }


def _active_prefix(info: Mapping[str, Any], where: str) -> str | None:
    """The active environment.

    Raises:
        UsageError: none was active: what would be taken then is conda's own, the base.
    """
    if "active_prefix" in info and not info["active_prefix"]:
        raise UsageError("no environment was active", where=where, hint=_ACTIVATE)
    prefixes = list(_prefixes(info))
    if not prefixes:
        return None
    names = _variables(info)
    is_told = (
        info.get("active_prefix") or names.get("CONDA_PREFIX") or names.get("CONDA_DEFAULT_ENV")
    )
    if not is_told and prefixes[0] == info.get("root_prefix"):
        raise UsageError("no environment was active", where=where, hint=_ACTIVATE)
    return prefixes[0]


def _variables(info: Mapping[str, Any]) -> dict[str, str]:
    variables = info.get("env_vars")
    entries = variables.items() if isinstance(variables, dict) else ()
    # conda 4.3 prints `<not set>` for a variable that is not there.
    return {k: v for k, v in entries if isinstance(v, str) and v and not v.startswith("<")}


def _prefixes(info: Mapping[str, Any]) -> Iterator[str]:
    """Candidates for the active prefix, best first."""
    variable = _variables(info).get("CONDA_PREFIX")
    for value in (info.get("active_prefix"), variable, info.get("default_prefix")):
        if isinstance(value, str) and value and not value.startswith("<"):
            yield value


def _texts(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(text for text in values if isinstance(text, str) and text)


def _virtual_packages(value: Any) -> Iterator[VirtualPackage]:
    for row in value if isinstance(value, list) else []:
        if isinstance(row, list) and len(row) == 3 and all(isinstance(part, str) for part in row):
            yield VirtualPackage(*row)
