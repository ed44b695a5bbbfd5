"""A wheel file and what it says of itself; foreign, so every name and size is checked here.

Source: PyPA, "Binary distribution format" (PEP 427) and "Core metadata specifications".
"""

from __future__ import annotations

import configparser
import re
import stat
import zipfile
import zlib
from email.parser import BytesParser
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct
from packaging.requirements import InvalidRequirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from repack.errors import IntegrityError, RepackError
from repack.fs import atomic
from repack.names import RelPath
from repack.wheels.requirements import parse_requirements

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

    from packaging.tags import Tag

# What `zipfile` raises for a damaged or odd archive.
DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
MAX_UNPACKED: Final = 64 << 30
_MAX_MEMBERS: Final = 500_000
_MAX_TEXT: Final = 16 << 20
_MAX_RATIO: Final = 2000  # zeros press to a thousandth
_SAFE_SCRIPT: Final = re.compile(r"[^\s/\\:*?\"<>|\x00-\x1f]+\Z")
_POINT: Final = re.compile(r"[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?\Z")


class EntryPoint(Struct, frozen=True):
    """A command that a distribution brings: ``name = module:function``."""

    name: str
    module: str
    function: str
    is_gui: bool = False

    @property
    def line(self) -> str:
        """As conda's ``link.json`` writes it."""
        return f"{self.name} = {self.module}:{self.function}"


class WheelMember(Struct, frozen=True):
    """One file of a wheel."""

    name: RelPath
    size: int
    is_executable: bool


class Wheel(Struct, frozen=True):
    """What a wheel says of itself.

    Attributes:
        name: normalized (PEP 503).
        version: as the metadata spells it.
        tags: what it runs on.
        dist_info: the folder of its metadata, ``NAME-VERSION.dist-info``.
        requires: ``Requires-Dist`` lines.
        license_files: members, below ``dist_info``.
    """

    path: Path
    fn: str
    name: str
    version: str
    tags: frozenset[Tag]
    dist_info: str
    members: tuple[WheelMember, ...]
    requires: tuple[str, ...]
    requires_python: str | None
    license: str | None
    summary: str
    entry_points: tuple[EntryPoint, ...]
    license_files: tuple[RelPath, ...]

    @property
    def is_pure(self) -> bool:
        """Whether it fits every machine and every CPython 3."""
        return all(tag.platform == "any" and tag.abi == "none" for tag in self.tags)


def read_wheel(path: Path, fn: str | None = None) -> Wheel:
    """Read a wheel's name, tags, metadata and list of files; nothing is unpacked.

    Args:
        fn: its file name, where ``path`` is another one, as in a store.

    Raises:
        IntegrityError: it is no wheel, or one that two readers would understand differently.
        PlaceError: it cannot be read.
    """
    fn = fn or path.name
    try:
        name, version, _, tags = parse_wheel_filename(fn)
    except InvalidWheelFilename as fault:
        raise IntegrityError("this is no file name of a wheel", where=fn, got=fault) from fault
    try:
        with atomic.os_errors_at(path), zipfile.ZipFile(path) as archive:
            members = _members(archive, fn)
            dist_info = _dist_info(members, fn)
            metadata = _metadata(archive, f"{dist_info}/METADATA", fn)
            points = f"{dist_info}/entry_points.txt"
            text = _text(archive, points, fn) if points in archive.namelist() else ""
    except DAMAGE as fault:
        raise IntegrityError("the wheel is damaged, or none", where=fn, got=fault) from fault
    said = canonicalize_name(str(metadata["Name"] or ""))
    if said != name or str(metadata["Version"] or "").lower() not in {
        str(version).lower(),
        fn.split("-")[1].replace("_", "-").lower(),
        fn.split("-")[1].lower(),
    }:
        raise IntegrityError(
            "the wheel's metadata is of another distribution",
            where=fn,
            expected=f"{name} {version}",
            got=f"{said} {metadata['Version']}"[:120],
        )
    requires = tuple(str(line) for line in metadata.get_all("Requires-Dist", []))
    requires_python = str(metadata["Requires-Python"]) if metadata["Requires-Python"] else None
    _check_requirements(requires, requires_python, fn)
    return Wheel(
        path=path,
        fn=fn,
        name=name,
        version=str(version),
        tags=tags,
        dist_info=dist_info,
        members=members,
        requires=requires,
        requires_python=requires_python,
        license=_license(metadata),
        summary=" ".join(str(metadata["Summary"] or "").split())[:500],
        entry_points=_entry_points(text, fn),
        license_files=_license_files(metadata, dist_info, members),
    )


def _members(archive: zipfile.ZipFile, where: str) -> tuple[WheelMember, ...]:
    members: list[WheelMember] = []
    seen: set[str] = set()
    infos = archive.infolist()
    if len(infos) > _MAX_MEMBERS:
        raise IntegrityError("the wheel has too many files", where=where, got=len(infos))
    total = 0
    for info in infos:
        if info.is_dir():
            continue
        mode = info.external_attr >> 16
        if stat.S_ISLNK(mode) or info.flag_bits & 1:
            what = "a symbolic link" if stat.S_ISLNK(mode) else "an encrypted file"
            raise IntegrityError(f"the wheel holds {what}", where=where, got=info.filename[:200])
        try:
            name = RelPath(info.filename)
        except RepackError as error:
            raise IntegrityError(error.what, where=where, got=error.got) from error
        if name.casefold() in seen:
            raise IntegrityError("the wheel holds a file twice", where=where, got=name[:200])
        seen.add(name.casefold())
        total += info.file_size
        if total > MAX_UNPACKED or info.file_size > _MAX_RATIO * max(info.compress_size, 4096):
            raise IntegrityError("the wheel unpacks to too much", where=where, got=name[:200])
        members.append(WheelMember(name, info.file_size, bool(mode & 0o111)))
    return tuple(members)


def _dist_info(members: tuple[WheelMember, ...], where: str) -> str:
    folders = {m.name.split("/")[0] for m in members if m.name.split("/")[0].endswith(".dist-info")}
    if len(folders) != 1:
        raise IntegrityError(
            "the wheel has not one folder of metadata", where=where, got=", ".join(sorted(folders))
        )
    folder = folders.pop()
    if f"{folder}/METADATA" not in {member.name for member in members}:
        raise IntegrityError("the wheel has no METADATA", where=where)
    return folder


def _metadata(archive: zipfile.ZipFile, name: str, where: str) -> Message:
    return BytesParser().parsebytes(_bytes(archive, name, where), headersonly=True)


def _text(archive: zipfile.ZipFile, name: str, where: str) -> str:
    return _bytes(archive, name, where).decode("utf-8", "replace")


def _bytes(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    if archive.getinfo(name).file_size > _MAX_TEXT:
        raise IntegrityError(f"{name} is too large", where=where)
    return archive.read(name)


def _check_requirements(requires: tuple[str, ...], python: str | None, where: str) -> None:
    parse_requirements(requires, where)
    try:
        SpecifierSet(python or "")
    except (InvalidSpecifier, InvalidRequirement) as fault:
        raise IntegrityError("Requires-Python is none", where=where, got=fault) from fault


def _license(metadata: Message) -> str | None:
    """The SPDX expression (PEP 639), else a short licence line."""
    text = metadata["License-Expression"] or metadata["License"]
    line = str(text).strip() if text else ""
    if line and "\n" not in line and len(line) <= 100 and line.upper() != "UNKNOWN":
        return line
    classifiers = [
        str(row).rsplit(" :: ", 1)[-1]
        for row in metadata.get_all("Classifier", [])
        if str(row).startswith("License :: ")
    ]
    return _CLASSIFIERS.get(classifiers[0], classifiers[0]) if len(classifiers) == 1 else None


# Trove classifiers that mean one SPDX licence.
_CLASSIFIERS: Final = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "The Unlicense (Unlicense)": "Unlicense",
}


def _license_files(
    metadata: Message, dist_info: str, members: tuple[WheelMember, ...]
) -> tuple[RelPath, ...]:
    listed = {str(row) for row in metadata.get_all("License-File", [])}
    return tuple(
        member.name
        for member in members
        if member.name.startswith(f"{dist_info}/")
        and (
            member.name.startswith(f"{dist_info}/licenses/")
            or member.name.removeprefix(f"{dist_info}/") in listed
        )
    )


def _entry_points(text: str, where: str) -> tuple[EntryPoint, ...]:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    # Names of commands are case-sensitive.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as fault:
        raise IntegrityError("entry_points.txt is malformed", where=where, got=fault) from fault
    points = []
    for section in ("console_scripts", "gui_scripts"):
        for name, value in sorted(parser.items(section)) if parser.has_section(section) else ():
            target = value.partition("[")[0].strip()
            module, _, function = target.partition(":")
            if not (_SAFE_SCRIPT.match(name) and _POINT.match(target) and function):
                raise IntegrityError(
                    "an entry point is odd", where=where, got=f"{name} = {value}"[:200]
                )
            points.append(EntryPoint(name, module, function, section == "gui_scripts"))
    return tuple(points)


def open_member(archive: zipfile.ZipFile, member: WheelMember) -> IO[bytes]:
    """Open a file of a wheel."""
    return archive.open(member.name)
