"""What repack concludes from a package archive, and whether it is the one its record describes.

Facts depend on the archive's bytes alone. They are computed once and kept as JSON beside it, so
they are small: no list of files, only what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from repack.archive.installed_paths import SITE_PACKAGES, check_site_packages
from repack.codec.decode import Document, decode, encode
from repack.errors import IntegrityError
from repack.structs import Value

if TYPE_CHECKING:
    from repack.conda.record import Record

# Raised whenever facts are concluded in another way; facts of another version are computed anew.
FACTS_VERSION: Final = 2
_COMPARED: Final = ("name", "version", "build", "subdir")

Depth = Literal["info", "whole"]
Noarch = Literal["python", "generic"]


class About(Document, frozen=True, forbid_unknown_fields=True):
    """Licence, summary and links of a package (``info/about.json``, ``info/index.json``)."""

    licence: str | None = None
    licence_family: str | None = None
    summary: str | None = None
    home: str | None = None
    source: str | None = None


class Script(Document, frozen=True, forbid_unknown_fields=True):
    """A script that conda runs when it links or unlinks the package.

    Attributes:
        path: where it is, as in ``bin/.NAME-post-link.sh``.
        when: ``pre-link``, ``post-link`` or ``pre-unlink``.
        urls: URLs in its text; the first few.
    """

    path: str
    when: str
    urls: tuple[str, ...] = ()


class Facts(Value, Document, frozen=True, forbid_unknown_fields=True):
    """What follows from the contents of one archive.

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
        links: the target of each symbolic link; known when the archive was read whole.
        entry_points: the commands that a client makes for it.
        sha384: of the archive; None until it is needed.
    """

    hidden_fields: ClassVar = ("index", "about")

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
    links: Mapping[str, str] = {}
    entry_points: tuple[str, ...] = ()
    sha384: str | None = None

    def covers(self, depth: Depth) -> bool:
        """Whether the archive was read as deep as ``depth``."""
        return depth in ("info", self.depth)

    def to_json(self) -> dict[str, Any]:
        """The facts for the cache, with the version of the rules that they were concluded by."""
        return {"version": FACTS_VERSION, **encode(self)}

    @classmethod
    def of_json(cls, document: object) -> Facts | None:
        """Facts from the cache; None when they are of another version or no facts at all."""
        if not isinstance(document, dict) or document.get("version") != FACTS_VERSION:
            return None
        fields = {name: value for name, value in document.items() if name != "version"}
        try:
            return decode(cls, fields, None, "file of facts")
        except IntegrityError:
            return None


def check_archive(facts: Facts, record: Record) -> None:
    """Check that the archive is the package its record describes.

    Hot-fixes change dependencies, never the name, version, build or subdir, so these must agree.
    Packages older than the subdir field have none in ``index.json``; that passes.

    Raises:
        IntegrityError: it is another package, or Windows cannot hold it although it is for Windows.
    """
    expected = {name: getattr(record, name) for name in _COMPARED}
    actual = {name: facts.index.get(name) for name in _COMPARED}
    if actual["subdir"] is None:
        actual["subdir"] = record.subdir
    if actual != expected:
        raise IntegrityError(
            "archive is not the package its record describes",
            where=record.path,
            expected=_words(expected),
            got=_words(actual),
            hint="ask whoever runs the upstream channel to index it anew",
        )
    if record.raw.get(SITE_PACKAGES) is not None:
        check_site_packages(record.raw[SITE_PACKAGES], record.path)
    if record.subdir.startswith("win-") and facts.case_twins:
        raise IntegrityError(
            "archive holds files of which Windows can keep only one",
            where=record.path,
            got=" and ".join(facts.case_twins[0]),
        )


def _words(fields: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())
