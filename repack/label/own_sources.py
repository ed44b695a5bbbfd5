"""The files of this very program, wherever it was installed from."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_LEFT_OUT = {"__pycache__"}


def own_sources() -> dict[str, bytes]:
    """Every file, by path in the package's folder; what Python compiled is left out."""
    return dict(_files(resources.files("repack"), ""))


def _files(folder: Traversable, at: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name not in _LEFT_OUT:
            found += _files(entry, f"{at}{entry.name}/")
        elif entry.is_file() and not entry.name.startswith("."):
            found.append((f"{at}{entry.name}", entry.read_bytes()))
    return found
