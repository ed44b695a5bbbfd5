"""A wheel laid out as its installer would have done it, as a conda package.

Pure wheels become ``noarch: python``: whoever links them writes their commands. Others carry their
commands, with the prefix placeholder in the first line, or on Windows with the launchers of distlib.

Source: PyPA, "Binary distribution format", installing a wheel; "Recording installed projects"
(RECORD, INSTALLER, direct_url.json).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zipfile
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from msgspec import Struct

from repack.archive.package import PREFIX_PLACEHOLDER, PackageFile, PackageSpec, with_content_build
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic, beneath
from repack.names import Digest, RelPath
from repack.wheels.requirements import depends, python_versions
from repack.wheels.wheel import DAMAGE, open_member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from repack.wheels.requirements import Machine
    from repack.wheels.tags import Fit
    from repack.wheels.wheel import EntryPoint, Wheel, WheelMember

_IN_MEMORY: Final = 64 << 10
_DATA: Final = re.compile(r"([^/]+)\.data/([^/]+)/(.+)\Z")
_UNKNOWN_LICENCE: Final = "LicenseRef-Unknown"


class Layout(Struct, frozen=True):
    """Where an installer puts what, relative to the prefix."""

    site: str
    scripts: str
    headers: str

    @classmethod
    def of(cls, subdir: str, python: str) -> Layout:
        """The layout of a package in ``subdir`` for ``python`` (two places)."""
        if subdir == "noarch":
            return cls("site-packages", "python-scripts", "include")
        if subdir.startswith("win-"):
            return cls("Lib/site-packages", "Scripts", "Include")
        return cls(f"lib/python{python}/site-packages", "bin", f"include/python{python}")


class Conversion(Struct, frozen=True):
    """How a wheel is converted.

    Attributes:
        extras: those of this distribution that somebody asks for.
        conda_name: what conda calls a distribution.
        origin: ``direct_url.json`` (PEP 610) for a wheel that came from no index; None for others.
        scratch: a folder for unpacked files; they must stay until the package is packed.
        sha256: of the wheel, for the package to say what it was made of.
    """

    machine: Machine
    fit: Fit
    extras: tuple[str, ...]
    conda_name: Callable[[str], str]
    scratch: Path
    sha256: str = ""
    origin: Mapping[str, object] | None = None


def convert_wheel(wheel: Wheel, how: Conversion) -> PackageSpec:
    """The package that a wheel becomes; its build names its content.

    Raises:
        IntegrityError: the wheel is damaged, or holds what has no place in an environment.
        SpaceError: the disk is full.
        UsageError: its commands need launchers for Windows, and distlib is not installed.
    """
    subdir = "noarch" if wheel.is_pure else how.machine.subdir
    layout = Layout.of(subdir, how.machine.short)
    files = _unpack(wheel, layout, how.scratch)
    metadata = f"{layout.site}/{wheel.dist_info}"
    texts = {f"{metadata}/INSTALLER": b"conda\n"}
    if how.origin is not None:
        texts[f"{metadata}/direct_url.json"] = json.dumps(how.origin, sort_keys=True).encode()
    if subdir != "noarch":
        for point in wheel.entry_points:
            texts |= _command(point, layout.scripts, subdir)
    members = {path: member for path, member in files.items() if path not in texts}
    for path, data in texts.items():
        executable = path.startswith(f"{layout.scripts}/") and subdir != "noarch"
        members[path] = PackageFile.of(path, data, is_executable=executable)
    record = f"{metadata}/RECORD"
    members.pop(record, None)
    rows = [] if subdir == "noarch" else list(members.values())
    rows = rows or [m for m in members.values() if m.path.startswith(f"{layout.site}/")]
    members[record] = PackageFile.of(record, _record(rows, layout.site, record))
    spec = PackageSpec(
        name=how.conda_name(wheel.name),
        version=conda_version(wheel.version),
        subdir=subdir,
        noarch="python" if subdir == "noarch" else None,
        depends=_depends(wheel, how),
        members=tuple(members.values()),
        license=wheel.license or _UNKNOWN_LICENCE,
        summary=wheel.summary,
        entry_points=tuple(p.line for p in wheel.entry_points) if subdir == "noarch" else (),
        purls=(f"pkg:pypi/{wheel.name}@{quote(wheel.version)}",),
        origin={"wheel": wheel.fn, "wheel_sha256": how.sha256},
    )
    return with_content_build(spec)


def conda_version(version: str) -> str:
    """A version of PEP 440 in a spelling that conda allows: no ``-`` may stand in it."""
    return version.lower().replace("-", "_")


def _depends(wheel: Wheel, how: Conversion) -> tuple[str, ...]:
    specs = depends(wheel.requires, how.machine, how.extras, how.conda_name)
    bound = python_versions(wheel.requires_python)
    pythons = [spec for spec in how.fit.depends if spec.startswith("python ")]
    return tuple(sorted({*specs, *how.fit.depends, *([] if pythons else [bound])} | {bound}))


def _unpack(wheel: Wheel, layout: Layout, scratch: Path) -> dict[str, PackageFile]:
    """Every file at its place; small ones in memory, others in ``scratch``."""
    files: dict[str, PackageFile] = {}
    with atomic.os_errors_at(wheel.path), zipfile.ZipFile(wheel.path) as archive:
        for number, member in enumerate(wheel.members):
            path = _destination(member.name, wheel, layout)
            if path in files:
                raise IntegrityError(
                    "two files of the wheel have one place", where=wheel.path.name, got=path
                )
            aside = scratch / f"{number}"
            files[path] = _extract(archive, member, path, layout.scripts, aside)
    return files


def _extract(
    archive: zipfile.ZipFile, member: WheelMember, path: str, scripts: str, aside: Path
) -> PackageFile:
    is_script = path.startswith(f"{scripts}/")
    try:
        if member.size <= _IN_MEMORY or is_script:
            with open_member(archive, member) as stream:
                data = stream.read(member.size + 1)
            data = _with_shebang(data) if is_script else data
            executable = member.is_executable or is_script
            return PackageFile.of(path, data, is_executable=executable)
        hasher, size = hashlib.sha256(), 0
        with (
            open_member(archive, member) as stream,
            atomic.os_errors_at(aside),
            beneath.writing(aside) as copy,
        ):
            while chunk := stream.read(atomic.CHUNK):
                hasher.update(chunk)
                copy.write(chunk)
                size += len(chunk)
    except DAMAGE as fault:
        raise IntegrityError("the wheel is damaged", where=member.name, got=fault) from fault
    digest = Digest(hasher.hexdigest())
    return PackageFile(RelPath(path), size, digest, str(aside), member.is_executable)


def _destination(name: str, wheel: Wheel, layout: Layout) -> str:
    """The place in the prefix of a wheel's member."""
    match = _DATA.match(name)
    if match is None:
        return f"{layout.site}/{name}"
    roots = {
        "purelib": f"{layout.site}/",
        "platlib": f"{layout.site}/",
        "scripts": f"{layout.scripts}/",
        "headers": f"{layout.headers}/{wheel.name}/",
        "data": "",
    }
    if match[2] not in roots:
        raise IntegrityError("the wheel has files of an unknown kind", got=name[:200])
    return roots[match[2]] + match[3]


def _with_shebang(data: bytes) -> bytes:
    """A script of a wheel begins with ``#!python``; whoever links it knows which."""
    if not re.match(rb"#!pythonw?\b", data):
        return data
    _, _, rest = data.partition(b"\n")
    return f"#!{PREFIX_PLACEHOLDER}/bin/python\n".encode() + rest


def _command(point: EntryPoint, scripts: str, subdir: str) -> dict[str, bytes]:
    """The files of one command of a package that is not ``noarch``."""
    first = point.function.split(".")[0]
    code = f"import sys\nfrom {point.module} import {first}\n"
    code += f"if __name__ == '__main__':\n    sys.exit({point.function}())\n"
    if not subdir.startswith("win-"):
        text = f"#!{PREFIX_PLACEHOLDER}/bin/python\n{code}"
        return {f"{scripts}/{point.name}": text.encode()}
    return {f"{scripts}/{point.name}.exe": _windows_launcher(point, code, subdir)}


def _windows_launcher(point: EntryPoint, code: str, subdir: str) -> bytes:
    """The launcher of distlib, the way to Python seen from it, and the code as a zip (PEP 441)."""
    try:
        from distlib.resources import finder
    except ImportError as missing:
        raise UsageError(
            f"the command {point.name} needs a launcher for Windows, and distlib is not here",
            hint="pip install 'repack[wheels]'",
        ) from missing
    kind = "w" if point.is_gui else "t"
    bits = {"win-64": "64", "win-32": "32", "win-arm64": "64-arm"}[subdir]
    launcher = finder("distlib").find(f"{kind}{bits}.exe").bytes
    python = "pythonw.exe" if point.is_gui else "python.exe"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", (1980, 1, 1, 0, 0, 0)), code)
    shebang = f"#!<launcher_dir>\\..\\{python}\r\n".encode()
    return bytes(launcher) + shebang + out.getvalue()


def _record(members: Iterable[PackageFile], site: str, record: str) -> bytes:
    """RECORD: path relative to site-packages, hash, size; its own row has neither."""
    up = "../" * (site.count("/") + 1)
    rows = []
    for member in members:
        inside = member.path.startswith(f"{site}/")
        path = member.path.removeprefix(f"{site}/") if inside else up + member.path
        digest = base64.urlsafe_b64encode(bytes.fromhex(member.sha256)).rstrip(b"=").decode()
        quoted = f'"{path}"' if "," in path else path
        rows.append(f"{quoted},sha256={digest},{member.size}\n")
    return ("".join(sorted(rows)) + f"{record.removeprefix(f'{site}/')},,\n").encode()
