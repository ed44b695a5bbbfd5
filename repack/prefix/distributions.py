"""Reads which Python distributions a prefix holds, from their metadata; none of their code runs.

Sources: PyPA, "Recording installed projects" (``*.dist-info``) and "Core metadata specifications";
setuptools for ``*.egg-info``, a folder or a single file.
"""

from __future__ import annotations

import re
from email.parser import BytesParser
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.errors import RepackError
from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_METADATA: Final = 16 << 20
_SEPARATORS: Final = re.compile(r"[-_.]+")


class Distribution(Struct, frozen=True):
    """One installed distribution.

    Attributes:
        name: normalized (PEP 503).
        version: as the metadata spells it.
        requires: ``Requires-Dist`` lines; those of ``*.egg-info`` are not read.
        folder: its ``*.dist-info`` or ``*.egg-info``.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    folder: Path

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def site_packages(prefix: Path) -> list[Path]:
    """The folders of a prefix from which its Python imports distributions."""
    lib = prefix / "lib"
    versions = [e.name for e in beneath.scan_if_there(lib) if e.name.startswith("python")]
    folders = [lib / name / "site-packages" for name in sorted(versions)]
    folders.append(prefix / "Lib" / "site-packages")
    return [folder for folder in folders if folder.is_dir()]


def installed_distributions(prefix: Path) -> Iterator[Distribution]:
    """Every distribution in ``prefix``; those whose metadata cannot be read are passed over.

    Raises:
        PlaceError: a folder cannot be read.
    """
    with atomic.os_errors_at(prefix):
        entries = [
            folder / entry.name
            for folder in site_packages(prefix)
            for entry in sorted(beneath.scan_if_there(folder), key=lambda entry: entry.name)
            if entry.name.endswith((".dist-info", ".egg-info"))
        ]
    for path in entries:
        if distribution := read_distribution(path):
            yield distribution


def read_distribution(folder: Path) -> Distribution | None:
    """The distribution that a ``*.dist-info`` or ``*.egg-info`` describes, or None."""
    is_egg = folder.name.endswith(".egg-info")
    path = folder / ("PKG-INFO" if is_egg else "METADATA") if folder.is_dir() else folder
    if not path.is_file():
        return None
    try:
        head = BytesParser().parsebytes(atomic.read(path, _MAX_METADATA), headersonly=True)
    except (RepackError, ValueError):
        return None
    name, version = str(head["Name"] or "").strip(), str(head["Version"] or "").strip()
    if not name or not version:
        return None
    requires = () if is_egg else tuple(map(str, head.get_all("Requires-Dist", [])))
    return Distribution(_SEPARATORS.sub("-", name).lower(), version, requires, folder)
