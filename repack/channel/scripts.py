"""What a customer starts: ``install.sh``, ``install.cmd`` and the program behind both.

The scripts are files in ``repack/shipped`` that travel as they are: the label's name and, for Windows,
the line ends are all that is filled in. What differs per label is data, ``repack/install.json``.
"""

from __future__ import annotations

import json
import re
import shlex
from importlib import resources
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict

from repack.errors import IntegrityError
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.archive.installed_paths import InstalledPackage
    from repack.archive.path_length import PathLengths
    from repack.label.label import PackageFormat
    from repack.names import LabelName


class PlatformPlan(Struct, frozen=True):
    """What is installed on one platform.

    Attributes:
        specs: what conda is asked for, as ``name=version=build``: words conda 4.3 understands.
        packages: everything that then is in the environment, as ``name-version-build``.
        reach: how long its paths get, for Windows.
        installed: what its packages put into a prefix besides plain files.
    """

    specs: tuple[str, ...]
    packages: tuple[str, ...]
    reach: PathLengths | None = None
    installed: tuple[InstalledPackage, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Its part of ``install.json``."""
        paths = {} if self.reach is None else {"paths": asdict(self.reach)}
        installed = {package.dist: package.to_json() for package in self.installed}
        return {
            "specs": sorted(self.specs),
            "packages": sorted(self.packages),
            "installed": {dist: fields for dist, fields in installed.items() if fields},
            **paths,
        }


class InstallerPlan(Struct, frozen=True):
    """What the scripts must know of a label."""

    label: LabelName
    package_format: PackageFormat
    add_pip: bool
    platforms: Mapping[str, PlatformPlan]


def installers(plan: InstallerPlan) -> dict[RelPath, bytes]:
    """All files, by path in the channel."""
    return {
        RelPath("install.sh"): install_sh(plan),
        RelPath("install.cmd"): install_cmd(plan),
        RelPath("repack/install.py"): _data("install.py").encode(),
        RelPath("repack/install_folders.py"): _data("install_folders.py").encode(),
        RelPath("repack/installed_paths.py"): _data("installed_paths.py").encode(),
        RelPath("repack/install.json"): _plan(plan),
    }


def install_sh(plan: InstallerPlan) -> bytes:
    """The script for POSIX shells."""
    return _data("install.sh").replace("@LABEL@", plan.label).encode()


def install_cmd(plan: InstallerPlan) -> bytes:
    """The script for Windows' cmd: plain ASCII with CRLF, whatever the code page is."""
    text = _data("install.cmd").replace("@LABEL@", plan.label)
    return text.replace("\n", "\r\n").encode("ascii")


class PackedEnvironment(Struct, frozen=True):
    """A packed environment, as its ``unpack.sh`` must know it.

    Attributes:
        archive: the file's name, beside the script.
        packed: the prefix that stands in its files.
        health_check: a command to run in the end, or nothing.
    """

    label: LabelName
    release: int
    archive: str
    sha256: str
    packed: str
    health_check: tuple[str, ...]


def unpack_sh(environment: PackedEnvironment) -> bytes:
    """The script that unpacks an environment where there is no conda and no Python."""
    words = {
        "LABEL": environment.label,
        "RELEASE": str(environment.release),
        "ARCHIVE": environment.archive,
        "SHA256": environment.sha256,
        "PACKED": environment.packed,
        "PACKED_LENGTH": str(len(environment.packed)),
        "HEALTH_CHECK": shlex.join(environment.health_check) or ":",
    }
    text = _data("unpack.sh")
    return re.sub(r"@([A-Z0-9_]+)@", lambda match: words[match[1]], text).encode()


def self_extracting(script: bytes) -> bytes:
    """``script`` of :func:`unpack_sh`, so that its archive can be appended to it."""
    before, assignment, after = script.partition(b"\npayload_at=0\n")
    if not assignment:
        raise IntegrityError("the script is of another repack", hint="build the label anew")
    # A fixed width, so that the number does not move what it counts.
    size = len(script) + 11
    return before + b"\npayload_at=%-12d\n" % (size + 1) + after


def _data(name: str) -> str:
    return _shipped_bytes(name).decode("utf-8").replace("\r\n", "\n")


def _plan(plan: InstallerPlan) -> bytes:
    document = {
        "label": plan.label,
        "package_format": plan.package_format,
        "add_pip": plan.add_pip,
        "subdirs": {subdir: part.to_json() for subdir, part in plan.platforms.items()},
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def verifier() -> dict[RelPath, bytes]:
    """The program that travels with every channel and checks it, by path in the channel."""
    return {RelPath("repack/verify.py"): _shipped_bytes("verify.py")}


def sync_scripts(folder: str = "") -> dict[RelPath, bytes]:
    """``sync.sh`` and ``sync.cmd``, by path below ``folder``, which ends with a slash."""
    windows = _shipped_bytes("sync.cmd").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return {
        RelPath(f"{folder}sync.sh"): _shipped_bytes("sync.sh"),
        RelPath(f"{folder}sync.cmd"): windows,
    }


def _shipped_bytes(name: str) -> bytes:
    return (resources.files("repack") / "shipped" / name).read_bytes()
