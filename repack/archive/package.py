"""What goes into a conda package that repack itself packs.

All bytes of a package follow from its :class:`PackageSpec`: times are fixed, members are sorted, no
file is executable. Formats: CEP 34 ("Contents of conda packages") for ``info/``, CEP 35 for the
archives.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, get_args

from msgspec import Struct, field
from msgspec.structs import force_setattr, replace

from repack.codec.canonical import canonical
from repack.errors import IntegrityError, UsageError
from repack.names import Digest, RelPath
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

Format = Literal[".conda", ".tar.bz2"]
FORMATS: Final = get_args(Format)
# Of zstd. To decompress levels from 20 on takes more memory than old machines have.
LEVELS: Final = range(1, 20)
DEFAULT_LEVEL: Final = 9
# zstd compresses the payload in jobs of this size, each independent of the one before, so that
# unchanged content has the same compressed bytes in the next version. A file of this size or more
# begins a job of its own: when it grows, the jobs after it stay as they are.
JOB: Final = 8 << 20
# 1980-01-01, the oldest time a zip can hold, in seconds. The clock would make other bytes each time.
EPOCH: Final = 315_532_800
UNKNOWN_LICENCE: Final = "LicenseRef-Proprietary"
# What stands for the prefix in text files; whoever links them puts the real one in (CEP 34).
PREFIX_PLACEHOLDER: Final = "/opt/anaconda1anaconda2anaconda3"
_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]*\Z")
_VERSION: Final = re.compile(r"[A-Za-z0-9_.+!]+\Z")
_BUILD: Final = re.compile(r"[A-Za-z0-9_.+]+\Z")
_ARCH: Final = {
    "linux-64": ("x86_64", "linux"),
    "linux-aarch64": ("aarch64", "linux"),
    "linux-ppc64le": ("ppc64le", "linux"),
    "linux-s390x": ("s390x", "linux"),
    "linux-armv7l": ("armv7l", "linux"),
    "osx-64": ("x86_64", "osx"),
    "osx-arm64": ("arm64", "osx"),
    "win-64": ("x86_64", "win"),
    "win-32": ("x86", "win"),
    "win-arm64": ("arm64", "win"),
    "noarch": (None, None),
}


class PackageFile(Value, frozen=True):
    """One file of a package.

    Attributes:
        path: its place in the environment.
        content: the bytes themselves, or the path of the file on disk that holds them.
        is_executable: whether it gets mode 0755 instead of 0644.
    """

    hidden_fields: ClassVar = ("content",)
    uncompared_fields: ClassVar = ("content",)

    path: RelPath
    size: int
    sha256: Digest
    content: bytes | str
    is_executable: bool = False

    @property
    def mode(self) -> int:
        """Its mode in the archive."""
        return 0o755 if self.is_executable else 0o644

    @property
    def has_placeholder(self) -> bool:
        """Whether it is a text in memory that names the prefix."""
        return isinstance(self.content, bytes) and PREFIX_PLACEHOLDER.encode() in self.content

    @classmethod
    def of(cls, path: str, data: bytes, *, is_executable: bool = False) -> PackageFile:
        """A member whose bytes are in memory.

        Raises:
            IntegrityError: ``path`` leads out of the package.
        """
        digest = Digest(hashlib.sha256(data).hexdigest())
        return cls(RelPath(path), len(data), digest, data, is_executable)


class PackageSpec(Struct, frozen=True):
    """A package to be packed.

    Attributes:
        noarch: None for a package of one subdir.
        license: an SPDX expression.
        entry_points: ``name = module:function``, for ``noarch="python"``.
        purls: what it is in other ecosystems, as package URLs (rattler's field of records).
        origin: what it was made of; goes into ``about.json``.
        level: of zstd; it counts as content, because it changes the bytes.

    Raises:
        UsageError: conda does not allow the name, version or build, or zstd has no such level.
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
    purls: tuple[str, ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what becomes part of file names, and sort the members."""
        for part, text, pattern in (
            ("package name", self.name, _NAME),
            ("version", self.version, _VERSION),
            ("build string", self.build, _BUILD),
        ):
            if not pattern.match(text):
                raise UsageError(f"{text!r} is no {part} that conda allows", where=self.name)
        if self.level not in LEVELS:
            raise UsageError(
                "no such compression level",
                where=self.name,
                expected=f"{LEVELS[0]} to {LEVELS[-1]}",
                got=self.level,
            )
        ordered = tuple(sorted(self.members, key=lambda member: member.path))
        force_setattr(self, "members", ordered)
        for member, following in itertools.pairwise(ordered):
            if member.path == following.path:
                raise IntegrityError(
                    "a package holds a path twice", where=self.name, got=member.path
                )

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
        if self.purls:
            index["purls"] = list(self.purls)
        return index

    def info(self) -> tuple[PackageFile, ...]:
        """The members under ``info/``, sorted."""
        placeholder = {"prefix_placeholder": PREFIX_PLACEHOLDER, "file_mode": "text"}
        relocated = [member for member in self.members if member.has_placeholder]
        paths = [
            {
                "_path": member.path,
                "path_type": "hardlink",
                "sha256": member.sha256,
                "size_in_bytes": member.size,
                **(placeholder if member in relocated else {}),
            }
            for member in self.members
        ]
        about: dict[str, Any] = {"license": self.license, "summary": self.summary}
        if self.origin:
            about["extra"] = dict(self.origin)
        files: dict[str, bytes] = {
            "info/about.json": _json(about),
            "info/files": "".join(f"{member.path}\n" for member in self.members).encode(),
            "info/index.json": _json(self.index()),
            "info/paths.json": _json({"paths": paths, "paths_version": 1}),
        }
        if relocated:
            lines = [f"{PREFIX_PLACEHOLDER} text {member.path}\n" for member in relocated]
            files["info/has_prefix"] = "".join(lines).encode()
        if self.noarch:
            # Old conda reads the kind of a noarch package from here, not from index.json.
            kind: dict[str, Any] = {"type": self.noarch}
            if self.noarch == "python":
                kind["entry_points"] = list(self.entry_points)
            files["info/link.json"] = _json({"noarch": kind, "package_metadata_version": 1})
        return tuple(PackageFile.of(path, data) for path, data in sorted(files.items()))


def begins_job(previous: int, size: int) -> bool:
    """Whether a file of ``size`` bytes after one of ``previous`` bytes begins a job of its own."""
    return previous >= JOB or size >= JOB


def with_content_build(spec: PackageSpec, number: int = 0) -> PackageSpec:
    """``spec`` with a build made of a digest of all else in it, as in ``h1a2b3c4d_0``."""
    index = {k: v for k, v in spec.index().items() if k not in {"build", "build_number"}}
    rows = [
        [member.path, member.size, member.sha256, *([True] if member.is_executable else [])]
        for member in spec.members
    ]
    content = [index, rows, spec.summary, list(spec.entry_points), spec.level]
    if spec.origin:
        content.append(dict(spec.origin))
    digest = hashlib.sha256(canonical(content)).hexdigest()
    return replace(spec, build=f"h{digest[:8]}_{number}", build_number=number)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
