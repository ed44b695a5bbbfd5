"""Subdirs of a channel, this machine's own, and the package that a path in a channel names."""

from __future__ import annotations

import platform
import sys
from typing import Final

PLATFORMS: Final = ("linux-64", "win-64")
NOARCH: Final = "noarch"
ARCHIVE_FOLDERS: Final = (NOARCH,)


def package_name(path: str) -> str:
    """The name of the package at ``path`` in a channel."""
    return path.rsplit("/", maxsplit=1)[-1].rsplit("-", 2)[0]


def host_subdir() -> str | None:
    """The conda subdir of this machine, or None when repack builds none for it."""
    machine = platform.machine().lower()
    systems = {"linux": "linux-64", "win32": "win-64"}
    return systems.get(sys.platform) if machine in {"x86_64", "amd64"} else None
