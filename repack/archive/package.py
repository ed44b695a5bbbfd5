"""A conda package that repack itself makes: what it says of itself, before it is packed.

Everything a package file holds follows from its :class:`PackageSpec`, so the same spec gives the
same bytes: times are fixed, members are sorted, no file is executable. Formats: CEP 34 ("Contents
of conda packages") for ``info/``, CEP 35 for the archives.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from typing import Any, ClassVar, Final, Literal, get_args

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from repack.codec.canonical import canonical
from repack.errors import IntegrityError, UsageError
from repack.names import Digest, RelPath
from repack.structs import Value

Format = Literal[".conda", ".tar.bz2"]
FORMATS: Final = get_args(Format)
LEVELS: Final = range(
    1, 20
)  # zstd's; from 20 on even reading takes more memory than old boxes have
DEFAULT_LEVEL: Final = 9
# zstd presses the payload in jobs of this size, and none looks at the one before: what did not
# change has the same bytes in the next version, compressed too. A file as large begins a job of its
# own, so that one that grows does not shift those behind it.
JOB: Final = 8 << 20
# 1980-01-01, the oldest time a zip can hold, in seconds. Never the clock: same files, same bytes.
EPOCH: Final = 315_532_800
UNKNOWN_LICENCE: Final = "LicenseRef-Proprietary"
_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]*\Z")
_VERSION: Final = re.compile(r"[A-Za-z0-9_.+!]+\Z")
_BUILD: Final = re.compile(r"[A-Za-z0-9_.+]+\Z")
_ARCH: Final = {
    "linux-64": ("x86_64", "linux"),
    "win-64": ("x86_64", "win"),
    "noarch": (None, None),
}


class PackageFile(Value, frozen=True):
    """One file of a package.

    Attributes:
        path: where it goes in the environment.
        content: the bytes themselves, or the path of the file on disk that holds them.
    """

    hidden_fields: ClassVar = ("content",)
    uncompared_fields: ClassVar = ("content",)

    path: RelPath
    size: int
    sha256: Digest
    content: bytes | str

    @classmethod
    def of(cls, path: str, data: bytes) -> PackageFile:
        """A member whose bytes are in memory.

        Raises:
            IntegrityError: ``path`` leads out of the package.
        """
        return cls(RelPath(path), len(data), Digest(hashlib.sha256(data).hexdigest()), data)


class PackageSpec(Struct, frozen=True):
    """A package to be made.

    Attributes:
        noarch: None for a package of one subdir.
        license: an SPDX expression.
        entry_points: ``name = module:function``, for ``noarch="python"``.
        level: how hard zstd presses; a level is content, because it changes the bytes.

    Raises:
        UsageError: name, version or build are none that conda allows, or there is no such level.
        IntegrityError: two members have the same path.
    """

    name: str
    version: str
    build: str = "0"
    build_number: int = 0
    subdir: str = "noarch"
    noarch: Literal["generic", "python"] | None = "generic"
    depends: tuple[str, ...] = ()
    members: tuple[PackageFile, ...] = ()
    license: str = UNKNOWN_LICENCE
    summary: str = ""
    entry_points: tuple[str, ...] = ()
    timestamp: int = EPOCH
    level: int = DEFAULT_LEVEL

    def __post_init__(self) -> None:
        """Check what ends up in file names, and sort the members."""
        for what, text, pattern in (
            ("package name", self.name, _NAME),
            ("version", self.version, _VERSION),
            ("build string", self.build, _BUILD),
        ):
            if not pattern.match(text):
                raise UsageError(f"{text!r} is no {what} that conda allows", where=self.name)
        if self.level not in LEVELS:
            raise UsageError(
                "no such compression level",
                where=self.name,
                expected=f"{LEVELS[0]} to {LEVELS[-1]}",
                got=self.level,
            )
        ordered = tuple(sorted(self.members, key=lambda member: member.path))
        force_setattr(self, "members", ordered)
        for one, two in itertools.pairwise(ordered):
            if one.path == two.path:
                raise IntegrityError("a package holds a path twice", where=self.name, got=one.path)

    @property
    def dist(self) -> str:
        """The file name without its suffix."""
        return f"{self.name}-{self.version}-{self.build}"

    def index(self) -> dict[str, Any]:
        """``info/index.json``, which is also the repodata record but for hashes and size."""
        arch, platform = _ARCH.get(self.subdir, (None, None))
        index: dict[str, Any] = {
            "arch": arch,
            "build": self.build,
            "build_number": self.build_number,
            "depends": list(self.depends),
            "license": self.license,
            "name": self.name,
            "platform": platform,
            "subdir": self.subdir,
            "timestamp": self.timestamp * 1000,
            "version": self.version,
        }
        if self.noarch:
            index["noarch"] = self.noarch
        return index

    def info(self) -> tuple[PackageFile, ...]:
        """The members under ``info/``, sorted."""
        paths = [
            {
                "_path": member.path,
                "path_type": "hardlink",
                "sha256": member.sha256,
                "size_in_bytes": member.size,
            }
            for member in self.members
        ]
        files: dict[str, bytes] = {
            "info/about.json": _json({"license": self.license, "summary": self.summary}),
            "info/files": "".join(f"{member.path}\n" for member in self.members).encode(),
            "info/index.json": _json(self.index()),
            "info/paths.json": _json({"paths": paths, "paths_version": 1}),
        }
        if self.noarch:
            # Old conda takes the kind of a noarch package from here, not from index.json.
            kind: dict[str, Any] = {"type": self.noarch}
            if self.noarch == "python":
                kind["entry_points"] = list(self.entry_points)
            files["info/link.json"] = _json({"noarch": kind, "package_metadata_version": 1})
        return tuple(PackageFile.of(path, data) for path, data in sorted(files.items()))


def begins_job(before: int, size: int) -> bool:
    """Whether a file of ``size`` bytes behind one of ``before`` bytes begins a job of its own."""
    return before >= JOB or size >= JOB


def with_content_build(spec: PackageSpec, number: int = 0) -> PackageSpec:
    """``spec`` with a build that names its content, as in ``h1a2b3c4d_0``."""
    build = f"h{_content(spec)[:8]}_{number}"
    return replace(spec, build=build, build_number=number)


def _content(spec: PackageSpec) -> str:
    """A digest of all that goes into a package but its build: same digest, same package."""
    index = {k: v for k, v in spec.index().items() if k not in {"build", "build_number"}}
    rows = [[member.path, member.size, member.sha256] for member in spec.members]
    facts = [index, rows, spec.summary, list(spec.entry_points), spec.level]
    return hashlib.sha256(canonical(facts)).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
