"""Explicit lists: what ``conda list --explicit`` writes, with ``--md5``, ``--sha256`` or neither.

Source: conda, ``conda/misc.py`` (``url_pat``) and ``conda/cli/main_list.py``: ``URL#MD5`` and
``URL#sha256:SHA256``; conda-lock and mamba write the same, some tools the SHA-256 alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from repack.inputs.pins import LockedPackages, Pin, WheelPin, pin_from_url, wheel_pin

if TYPE_CHECKING:
    from repack.codec.tree import ProblemList

_PLATFORM: Final = re.compile(r"#\s*platform:\s*(\S+)", re.IGNORECASE)
_SHA256: Final = 64
_SUBDIR: Final = re.compile(r"[\\/]((?:linux|win|osx)-[a-z0-9]+)[\\/][^\\/]*\Z")


def read_explicit(text: str, problems: ProblemList, platforms: tuple[str, ...]) -> LockedPackages:
    """Read the pins of the one platform such a list is for; mistakes go to ``problems``."""
    subdirs: set[str] = set()  # named by a comment or a URL
    pins: list[Pin] = []
    wheels: list[WheelPin] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line == "@EXPLICIT":
            continue
        if line.startswith("# pip "):
            wheels += _read_pip_line(line, number, problems)
            continue
        if line.startswith("#"):
            if match := _PLATFORM.match(line):
                subdirs.add(match[1])
            continue
        url, _, digest = line.partition("#")
        sha256 = digest.removeprefix("sha256:")
        # mamba and others write the SHA-256 alone.
        sha256 = sha256 if sha256 != digest or len(digest) == _SHA256 else ""
        try:
            pins.append(pin_from_url(url.strip(), sha256, "" if sha256 else digest))
        except ValueError as error:
            problems.add(number, str(error))
        if match := _SUBDIR.search(url.strip()):
            subdirs.add(match[1])
    if not pins:
        problems.add(1, "the list names no package")
    if len(subdirs) > 1:
        problems.add(1, f"the list mixes platforms: {', '.join(sorted(subdirs))}")
    return LockedPackages(
        "explicit",
        # A list of noarch packages alone is for every platform.
        pins={name: tuple(pins) for name in sorted(subdirs) or platforms if name in platforms},
        platforms=tuple(sorted(subdirs)),
        wheels={
            name: tuple(wheels)
            for name in sorted(subdirs) or platforms
            if wheels and name in platforms
        },
    )


def _read_pip_line(line: str, number: int, problems: ProblemList) -> list[WheelPin]:
    """``# pip NAME @ URL#sha256=HEX``, as conda-lock and micromamba write it."""
    name, _, url = line.removeprefix("# pip ").partition(" @ ")
    try:
        return [wheel_pin(url, "", name.strip())]
    except ValueError as error:
        problems.add(number, str(error))
        return []
