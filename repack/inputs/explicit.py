"""Explicit lists: what ``conda list --explicit`` writes, with ``--md5``, ``--sha256`` or neither.

Source: conda, ``conda/misc.py`` (``url_pat``) and ``conda/cli/main_list.py``: ``URL#MD5`` and
``URL#sha256:SHA256``; conda-lock and mamba write the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from repack.inputs.pins import LockedPackages, Pin, pin_from_url

if TYPE_CHECKING:
    from repack.codec.tree import ProblemList

_PLATFORM: Final = re.compile(r"#\s*platform:\s*(\S+)", re.IGNORECASE)
_SUBDIR: Final = re.compile(r"[\\/](linux|win|osx)-[a-z0-9]+[\\/][^\\/]*\Z")


def read_explicit(text: str, findings: ProblemList, platforms: tuple[str, ...]) -> LockedPackages:
    """The pins of the one platform such a list has; mistakes go to ``findings``."""
    said: set[str] = set()
    seen: set[str] = set()
    pins: list[Pin] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line == "@EXPLICIT":
            continue
        if line.startswith("#"):
            said.update(match[1] for match in [_PLATFORM.match(line)] if match)
            continue
        url, _, digest = line.partition("#")
        sha256 = digest.removeprefix("sha256:") if digest.startswith("sha256:") else ""
        try:
            pins.append(pin_from_url(url.strip(), sha256, "" if sha256 else digest))
        except ValueError as fault:
            findings.add(number, str(fault))
        subdir = _SUBDIR.search(url.strip())
        if subdir:
            seen.add(re.split(r"[\\/]", subdir.group())[1])
    return _for_platform(tuple(pins), sorted(said | seen), findings, platforms)


def _for_platform(
    pins: tuple[Pin, ...], found: list[str], findings: ProblemList, platforms: tuple[str, ...]
) -> LockedPackages:
    if not pins:
        findings.add(1, "the list names no package")
    if len(found) > 1:
        findings.add(1, f"the list mixes platforms: {', '.join(found)}")
    # With noarch packages alone it fits every platform.
    fits = found or platforms
    return LockedPackages(
        "explicit",
        pins={platform: pins for platform in fits if platform in platforms},
        platforms=tuple(found),
    )
