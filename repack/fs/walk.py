"""The files below a folder, with their sizes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from repack.fs import atomic
from repack.fs.litter import is_litter

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_or_none(path: Path) -> bytes | None:
    """The whole of one of our own metadata files; None when there is none."""
    with atomic.os_errors_at(path):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


def walk(folder: Path) -> Iterator[str]:
    """Every file below ``folder`` as a ``/``-separated path; litter and our temp files left out."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        base = Path(here).relative_to(folder)
        for name in sorted(names):
            if not is_litter(name):
                yield (base / name).as_posix()


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below ``folder``, by path; litter left out."""
    size_by_path = {}
    for path in walk(folder):
        with atomic.os_errors_at(folder / path):
            size_by_path[path] = (folder / path).stat().st_size
    return size_by_path
