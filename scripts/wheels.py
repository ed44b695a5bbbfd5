"""Turns wheels into real conda packages.

A pure wheel becomes ``noarch: python``; if what it needs differs between Linux and Windows it
becomes two, told apart by ``__unix`` and ``__win``, as on the public channels. A binary wheel
becomes one package of its subdir, laid out as its installer would have done (PyPA's binary
distribution format), with the glibc its tag asks for.
"""

from __future__ import annotations

import configparser
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.utils import parse_wheel_filename

from repack.wheels.requirements import Machine, depends, python_versions
from scripts.archives import EPOCH, PLACEHOLDER, Kind, Recipe, pack
from scripts.environment_yml import CONDA_NAMES

if TYPE_CHECKING:
    from email.message import Message

SUBDIRS: Final = ("linux-64", "win-64")
_MANYLINUX: Final = re.compile(r"manylinux_(\d+)_(\d+)_x86_64$")
_GLIBC_ALIASES: Final = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_LONG: Final = 60


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an installer puts what, relative to the prefix."""

    site: str
    scripts: str
    headers: str

    @classmethod
    def of(cls, subdir: str, machine: Machine) -> Layout:
        """The layout of a package in ``subdir``."""
        if subdir == "noarch":
            return cls("site-packages", "python-scripts", "include")
        if subdir.startswith("win-"):
            return cls("Lib/site-packages", "Scripts", "Include")
        lib = f"python{machine.short}"
        return cls(f"lib/{lib}/site-packages", "bin", f"include/{lib}")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel file and what its metadata says."""

    path: Path
    name: str
    version: str
    platforms: frozenset[str]
    metadata: Message
    entry_points: tuple[str, ...]
    made: datetime

    @classmethod
    def read(cls, path: Path) -> Wheel:
        """Read name, tags, metadata and entry points of a wheel."""
        name, version, _, tags = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            names = {info.filename for info in archive.infolist()}
            metadata = next(n for n in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
            points = metadata.replace("METADATA", "entry_points.txt")
            newest = max(info.date_time for info in archive.infolist())
            return cls(
                path,
                name,
                str(version),
                frozenset(tag.platform for tag in tags),
                Parser().parsestr(archive.read(metadata).decode("utf-8", "replace")),
                _entry_points(archive.read(points).decode()) if points in names else (),
                max(datetime(*newest, tzinfo=UTC), EPOCH.replace(year=2020)),
            )

    @property
    def pure(self) -> bool:
        """Whether it fits every machine."""
        return self.platforms == {"any"}

    def requires(self) -> list[str]:
        """Its ``Requires-Dist`` lines."""
        return [str(line) for line in self.metadata.get_all("Requires-Dist", [])]

    def recipes(self, machine: Machine) -> list[Recipe]:
        """The packages this wheel becomes for a machine: one, or two that differ by system."""
        base = Recipe(
            name=CONDA_NAMES.get(self.name, self.name),
            version=self.version,
            build="py_0",
            subdir="noarch",
            noarch="python",
            entry_points=self.entry_points,
            license=self._license(),
            summary=self.metadata["Summary"],
            made=self.made,
        )
        if not self.pure:
            own = [f"python {machine.short}.*", *depends(self.requires(), machine), *self._glibc()]
            build = f"py{machine.short.replace('.', '')}_0"
            return [
                replace(base, build=build, subdir=machine.subdir, noarch=None, depends=_sorted(own))
            ]
        python = python_versions(self.metadata["Requires-Python"])
        per_subdir = {
            subdir: _sorted([python, *depends(self.requires(), Machine(subdir, machine.python))])
            for subdir in SUBDIRS
        }
        if len(set(per_subdir.values())) == 1:
            return [replace(base, depends=per_subdir["linux-64"])]
        unix = _sorted([*per_subdir["linux-64"], "__unix"])
        windows = _sorted([*per_subdir["win-64"], "__win"])
        return [
            replace(base, build="unix_py_0", depends=unix),
            replace(base, build="win_py_0", depends=windows),
        ]

    def _glibc(self) -> list[str]:
        wanted = []
        for platform in self.platforms:
            if match := _MANYLINUX.match(platform):
                wanted.append((int(match[1]), int(match[2])))
            elif platform.endswith("_x86_64"):
                wanted += [_GLIBC_ALIASES[platform.partition("_")[0]]]
        return [f"__glibc >={min(wanted)[0]}.{min(wanted)[1]},<3.0a0"] if wanted else []

    def _license(self) -> str | None:
        text = self.metadata["License-Expression"] or self.metadata["License"]
        return text if text and "\n" not in text and len(text) < _LONG else None


def convert(
    wheel: Wheel, recipe: Recipe, channel: Path, machine: Machine, kind: Kind = ".conda"
) -> Path:
    """Pack one recipe of a wheel into a channel folder and return the archive."""
    layout = Layout.of(recipe.subdir, machine)
    with tempfile.TemporaryDirectory(prefix="repack-wheel-") as name:
        stage = Path(name)
        _unpack(wheel, layout, stage)
        if recipe.noarch is None and wheel.entry_points:
            _write_scripts(wheel, stage / layout.scripts, recipe.subdir)
        return pack(recipe, stage, channel, kind)


def _unpack(wheel: Wheel, layout: Layout, stage: Path) -> None:
    with zipfile.ZipFile(wheel.path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            place = _destination(info.filename, layout, wheel.name)
            target = stage / place
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            script = place.startswith(f"{layout.scripts}/")
            target.chmod(0o755 if script or (info.external_attr >> 16) & 0o111 else 0o644)
            if script:
                _set_shebang(target)
            if place.endswith(".dist-info/METADATA"):
                target.with_name("INSTALLER").write_text("conda\n", encoding="ascii")


def _destination(name: str, layout: Layout, package: str) -> str:
    """The place in the prefix of a wheel's member (PyPA: binary distribution format, .data)."""
    if not (match := re.fullmatch(r"[^/]+\.data/([^/]+)/(.+)", name)):
        return f"{layout.site}/{name}"
    scheme, rest = match[1], match[2]
    roots = {
        "purelib": f"{layout.site}/",
        "platlib": f"{layout.site}/",
        "scripts": f"{layout.scripts}/",
        "headers": f"{layout.headers}/{package}/",
        "data": "",
    }
    return roots[scheme] + rest


def _set_shebang(script: Path) -> None:
    data = script.read_bytes()
    if data.startswith(b"#!python"):
        line, _, rest = data.partition(b"\n")
        del line
        script.write_bytes(f"#!{PLACEHOLDER}/bin/python\n".encode() + rest)


def _write_scripts(wheel: Wheel, folder: Path, subdir: str) -> None:
    """Entry points of a binary package; noarch ones are written by whoever links them.

    On Windows they are two files, as conda-build writes them: ``NAME-script.py`` and a launcher
    of the same name, which setuptools brings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    windows = subdir.startswith("win-")
    launcher = _launcher(wheel.path.parent) if windows else None
    for line in wheel.entry_points:
        name, _, point = (part.strip() for part in line.partition("="))
        module, _, function = point.partition(":")
        text = f"import sys\nfrom {module} import {function.split('.')[0]}\n"
        text += f"if __name__ == '__main__':\n    sys.exit({function}())\n"
        script = folder / (f"{name}-script.py" if windows else name)
        shebang = "" if windows else f"#!{PLACEHOLDER}/bin/python\n"
        script.write_text(shebang + text, encoding="utf-8")
        script.chmod(0o755)
        if launcher:
            (folder / f"{name}.exe").write_bytes(launcher)


def _launcher(folder: Path) -> bytes | None:
    """The 64-bit launcher out of the wheel of setuptools in ``folder``, if there is one."""
    for path in sorted(folder.glob("setuptools-*.whl")):
        with zipfile.ZipFile(path) as archive:
            return archive.read("setuptools/cli-64.exe")
    return None


def _entry_points(text: str) -> tuple[str, ...]:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    # Names of commands are case-sensitive.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return tuple(
        f"{name} = {point.partition('[')[0].strip()}"
        for section in ("console_scripts", "gui_scripts")
        if parser.has_section(section)
        for name, point in sorted(parser.items(section))
    )


def _sorted(specs: list[str]) -> tuple[str, ...]:
    return tuple(sorted(set(specs)))
