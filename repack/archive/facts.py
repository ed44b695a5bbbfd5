"""What is known of a package archive, and whether it is the one its record describes.

Facts depend on the archive's bytes alone. They are computed once and kept as JSON beside it, so
they hold little: no list of files, only what was concluded from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from msgspec import Struct
from msgspec.structs import asdict

from repack.errors import IntegrityError
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.conda.record import Record

# Raised whenever facts are concluded in another way; facts of another version are computed anew.
FACTS_VERSION: Final = 1
_COMPARED: Final = ("name", "version", "build", "subdir")

Depth = Literal["info", "whole"]
Noarch = Literal["python", "generic"]


class About(Struct, frozen=True):
    """What a person wants to know of a package (``info/about.json``, ``info/index.json``)."""

    licence: str | None = None
    licence_family: str | None = None
    summary: str | None = None
    home: str | None = None
    source: str | None = None


class Script(Struct, frozen=True):
    """A script that conda runs when it links or unlinks the package.

    Attributes:
        path: where it is, as in ``bin/.NAME-post-link.sh``.
        when: ``pre-link``, ``post-link`` or ``pre-unlink``.
        urls: what it names on the internet; the first few.
    """

    path: str
    when: str
    urls: tuple[str, ...] = ()


class Facts(Value, frozen=True):
    """What was concluded from one archive.

    Attributes:
        depth: ``info`` when only the description inside was read, ``whole`` when every member was
            read and checked.
        index: ``info/index.json`` as it is.
        files: number of files the package installs.
        unpacked: bytes of these files; None where an old package does not say.
        longest_path: the path that reaches farthest below ``pkgs/DIST``.
        longest_linked: the path that reaches farthest below a prefix, on Windows.
        noarch: what kind of platform-independent package it is.
        has_link_json: whether old conda could link it as ``noarch: python``.
        case_twins: files that differ in case only; the first few.
        windows_faults: names that Windows cannot hold, for packages that can go there.
        unlisted: files the archive holds and does not install; the first few.
        sha384: of the archive, once somebody asked for it.
    """

    hidden_fields: ClassVar = (
        "index",
        "about",
    )

    depth: Depth
    index: Mapping[str, Any]
    about: About
    files: int
    unpacked: int | None
    longest_path: str
    longest_linked: str
    scripts: tuple[Script, ...] = ()
    noarch: Noarch | None = None
    has_link_json: bool = False
    case_twins: tuple[tuple[str, str], ...] = ()
    windows_faults: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    sha384: str | None = None

    def covers(self, depth: Depth) -> bool:
        """Whether the archive was read as deep as ``depth``."""
        return depth in ("info", self.depth)

    def to_json(self) -> dict[str, Any]:
        """The facts for the cache."""
        rows = asdict(self)
        scripts = [asdict(script) for script in self.scripts]
        return {"version": FACTS_VERSION, **rows, "about": asdict(self.about), "scripts": scripts}

    @classmethod
    def of_json(cls, data: Any) -> Facts | None:
        """Facts from the cache; None when they are of another version or no facts at all."""
        try:
            if data["version"] != FACTS_VERSION or data["depth"] not in ("info", "whole"):
                return None
            plain = {key: value for key, value in data.items() if key != "version"}
            return cls(
                **plain
                | {
                    "about": About(**data["about"]),
                    "scripts": tuple(
                        Script(row["path"], row["when"], tuple(row["urls"]))
                        for row in data["scripts"]
                    ),
                    "case_twins": tuple((one, other) for one, other in data["case_twins"]),
                    "windows_faults": tuple(data["windows_faults"]),
                    "unlisted": tuple(data["unlisted"]),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


def check_archive(facts: Facts, record: Record) -> None:
    """See to it that the archive is the package its record describes.

    Hot-fixes change dependencies, never the name, version, build or subdir, so these must agree.
    A package without a subdir of its own is from before conda wrote one, and passes.

    Raises:
        IntegrityError: it is another package, or Windows cannot hold it although it is for Windows.
    """
    given = {name: facts.index.get(name) for name in _COMPARED}
    wanted = {name: getattr(record, name) for name in _COMPARED}
    if given["subdir"] is None:
        given["subdir"] = wanted["subdir"]
    if given != wanted:
        raise IntegrityError(
            "archive is not the package its record describes",
            where=record.path,
            expected=_words(wanted),
            got=_words(given),
            hint="ask whoever runs the upstream channel to index it anew",
        )
    if record.subdir.startswith("win-") and facts.case_twins:
        one, other = facts.case_twins[0]
        raise IntegrityError(
            "archive holds files of which Windows can keep only one",
            where=record.path,
            got=f"{one} and {other}",
        )


def _words(fields: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())
