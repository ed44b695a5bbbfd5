"""What a customer starts: ``install.sh``, ``install.cmd`` and the program behind both.

The scripts are files in ``repack/data`` that travel as they are: the label's name and, for Windows,
the line ends are all that is filled in. What differs per label is data, ``repack/install.json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal

from repack.model.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.model.names import LabelName


@dataclass(frozen=True, slots=True)
class Installation:
    """What is installed on one platform.

    Attributes:
        specs: what conda is asked for, as ``name=version=build``: words conda 4.3 understands.
        packages: everything that then is in the environment, as ``name-version-build``.
    """

    specs: tuple[str, ...]
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Installer:
    """What the scripts must know of a label."""

    label: LabelName
    package_format: Literal["keep", "tar.bz2"]
    add_pip: bool
    platforms: Mapping[str, Installation]


def installers(installer: Installer) -> dict[RelPath, bytes]:
    """All files, by path in the channel."""
    return {
        RelPath("install.sh"): install_sh(installer),
        RelPath("install.cmd"): install_cmd(installer),
        RelPath("repack/install.py"): _data("install.py").encode(),
        RelPath("repack/install.json"): _plan(installer),
    }


def install_sh(installer: Installer) -> bytes:
    """The script for POSIX shells."""
    return _data("install.sh").replace("@LABEL@", installer.label).encode()


def install_cmd(installer: Installer) -> bytes:
    """The script for Windows' cmd: plain ASCII with CRLF, whatever the code page is."""
    text = _data("install.cmd").replace("@LABEL@", installer.label)
    return text.replace("\n", "\r\n").encode("ascii")


def _data(name: str) -> str:
    return (resources.files("repack") / "data" / name).read_text(encoding="utf-8")


def _plan(installer: Installer) -> bytes:
    platforms = {
        subdir: {"specs": sorted(part.specs), "packages": sorted(part.packages)}
        for subdir, part in installer.platforms.items()
    }
    plan = {
        "label": installer.label,
        "package_format": installer.package_format,
        "add_pip": installer.add_pip,
        "subdirs": platforms,
    }
    return json.dumps(plan, indent=1, sort_keys=True).encode() + b"\n"
