"""Collects what matters of an archive's members as they are read, and concludes the facts.

Sources of the format: CEP 34 (contents of a package), and conda-build's
``conda_build/build.py`` for what older packages hold.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from repack.archive.facts import About, Depth, Facts, Noarch, Script
from repack.archive.installed_paths import (
    SITE_PACKAGES,
    check_command,
    check_shortcuts,
    check_site_packages,
)
from repack.archive.members import SHOWN, case_twins, check_links, check_names, windows_faults
from repack.archive.path_length import linked_path, longest
from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.archive.tar_reader import TarMember

_INFO_LIMITS: Final = {  # bytes each may have at most
    "info/index.json": 4 << 20,
    "info/about.json": 16 << 20,
    "info/link.json": 4 << 20,
    "info/paths.json": 128 << 20,
    "info/files": 128 << 20,
}
_SCRIPT: Final = re.compile(
    r"(?:bin|scripts)/\.[^/]+-(pre-link|post-link|pre-unlink)\.(?:sh|bat)", re.IGNORECASE
)
_SCRIPT_LIMIT: Final = 256 << 10
_MENU: Final = re.compile(r"menu/[^/]+\.json", re.IGNORECASE)
_MENU_LIMIT: Final = 4 << 20
# CEP 34; what a client does with another kind is not known.
_PATH_TYPES: Final = frozenset({"hardlink", "softlink", "directory"})
_URL: Final = re.compile(
    rb"\b(?:https?|ftps?|s3|gs|git|ssh)://[^\s\"'<>`|;)\]}]{1,300}", re.IGNORECASE
)
# Bytes for what no list of files includes: headers, padding, what lies under `info/`.
_SLACK: Final = 256 << 20
_RATIO: Final = 1000  # how far an archive may compress while its list of files is unknown


class ArchiveScan:
    """The state of reading one archive.

    Args:
        size: bytes of the archive, to bound what it may unpack to.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._info: dict[str, bytes] = {}
        self._names: list[str] = []
        self._seen: set[str] = set()
        self._folders: set[str] = set()
        self._symlinks: dict[str, str] = {}
        self._scripts: dict[str, Script] = {}
        self._paths: tuple[str, ...] | None = None
        self._listed_folders: tuple[str, ...] = ()
        self._listed_scripts: set[str] = set()
        self._unpacked: int | None = None

    def add_member(self, member: TarMember) -> int:
        """Record a member.

        Returns:
            How many bytes of its data :meth:`add_data` needs, at most; 0 for none.

        Raises:
            IntegrityError: a second member of this name, or a hard link to none.
        """
        name = member.name.removeprefix("./")
        if member.kind == "folder":
            if name != ".":
                self._folders.add(name)
            return 0
        if name in self._seen:
            raise IntegrityError("archive holds a file twice", got=name)
        # A hard link has the data of an earlier member; to a later one, readers disagree.
        if member.kind == "hardlink" and member.target.removeprefix("./") not in self._seen:
            raise IntegrityError("archive holds a hard link to nothing", got=name)
        if member.kind == "symlink":
            self._symlinks[name] = member.target
        target = self._symlinks.get(member.target.removeprefix("./"))
        if member.kind == "hardlink" and target is not None:
            # A hard link to a symbolic link is that link once more, seen from another folder.
            self._symlinks[name] = target
        self._seen.add(name)
        self._names.append(name)
        if member.kind != "file":
            return 0
        if _SCRIPT.fullmatch(name):
            return _SCRIPT_LIMIT
        return _MENU_LIMIT if _MENU.fullmatch(name) else _INFO_LIMITS.get(name, 0)

    def add_data(self, member: TarMember, data: bytes) -> None:
        """Take the data that :meth:`add_member` asked for.

        Raises:
            IntegrityError: a file of the description is too long.
        """
        name = member.name.removeprefix("./")
        if match := _SCRIPT.fullmatch(name):
            urls = dict.fromkeys(url.decode("utf-8", "replace") for url in _URL.findall(data))
            self._scripts[name] = Script(name, match[1].lower(), tuple(urls)[:SHOWN])
        elif member.size > len(data):
            raise IntegrityError(f"{name} is too large", expected=f"at most {len(data)} bytes")
        elif name in ("info/paths.json", "info/files"):
            self._read_list(name, data)
        elif _MENU.fullmatch(name):
            check_shortcuts(_parse_menu(data), name)
        else:
            self._info[name] = data

    def unpacked_limit(self) -> int:
        """Bytes the archive may unpack to: by its own list of files once that is read."""
        if self._unpacked is None:
            return self._size * _RATIO + _SLACK
        return self._unpacked * 5 // 4 + _SLACK

    def is_described(self) -> bool:
        """Whether ``index.json``, the list of files and every listed link script are read."""
        if self._paths is None or "info/index.json" not in self._info:
            return False
        return self._listed_scripts <= self._scripts.keys()

    def facts(self, depth: Depth) -> Facts:
        """Check everything that was read, and conclude the facts.

        Raises:
            IntegrityError: the description is missing or broken, a path is unsafe, a link leads
                out, or (``whole``) a file of the list is missing.
        """
        if "info/index.json" not in self._info:
            raise IntegrityError("archive has no info/index.json, so it is no conda package")
        if self._paths is None:
            raise IntegrityError("archive has neither info/paths.json nor info/files")
        index, link = self._document("info/index.json"), self._document("info/link.json")
        check_names(self._names)
        check_names(tuple(self._folders))
        check_names(self._paths)
        check_names(self._listed_folders)
        check_links(self._symlinks, self._names)
        unlisted = self._check_list() if depth == "whole" else ()
        noarch = _noarch(index, link)
        below_info = [name for name in self._names if name.startswith("info/")]
        entry_points = _entry_points(link)
        for command in entry_points:
            check_command(command, "info/link.json")
        if index.get(SITE_PACKAGES) is not None:
            check_site_packages(index[SITE_PACKAGES], "info/index.json")
        subdir = str(index.get("subdir", ""))
        for_windows = noarch is not None or subdir.startswith(("win-", "noarch"))
        return Facts(
            depth=depth,
            index=index,
            about=_about(index, self._document("info/about.json")),
            files=len(self._paths),
            unpacked=self._unpacked,
            longest_path=longest((*self._paths, *below_info)),
            longest_linked=longest([linked_path(path, noarch) for path in self._paths]),
            scripts=tuple(self._scripts[name] for name in sorted(self._scripts)),
            noarch=noarch,
            has_link_json=bool(link),
            case_twins=case_twins(self._paths),
            windows_faults=windows_faults(self._paths) if for_windows else (),
            unlisted=unlisted,
            links=self._symlinks,
            entry_points=entry_points,
        )

    def _check_list(self) -> tuple[str, ...]:
        """Compare the members with the list.

        Returns:
            The members that are not on it, the first few: clients never install them.
        """
        listed = set(self._paths or ())
        if missing := listed - self._seen - self._folders:
            raise IntegrityError(
                "archive lacks files that it says it installs",
                expected=f"{len(listed)} files",
                got=f"{len(missing)} are missing, as {min(missing)}",
            )
        if files := self._seen.intersection(self._listed_folders):
            raise IntegrityError(
                "archive says of a file that it is a folder", got=repr(min(files)[:200])
            )
        extra = sorted(name for name in self._seen - listed if not name.startswith("info/"))
        return tuple(extra[:SHOWN])

    def _read_list(self, name: str, data: bytes) -> None:
        """Read a list of files; ``paths.json`` replaces the old ``files``, which has no sizes."""
        if name == "info/paths.json":
            self._paths, self._listed_folders, self._unpacked = _parse_paths(name, data)
        elif self._paths is None:
            try:
                lines = data.decode("utf-8").splitlines()
            except UnicodeDecodeError as error:
                raise IntegrityError(f"{name} is not UTF-8") from error
            self._paths = tuple([line.strip() for line in lines if line.strip()])
        self._listed_scripts = {path for path in self._paths or () if _SCRIPT.fullmatch(path)}

    def _document(self, name: str) -> dict[str, Any]:
        return _parse_object(name, self._info[name]) if name in self._info else {}


def _parse_paths(name: str, data: bytes) -> tuple[tuple[str, ...], tuple[str, ...], int | None]:
    """Files and folders of ``paths.json`` and the sum of the sizes; None where one is missing."""
    rows = _parse_object(name, data).get("paths")
    try:
        kinds = {row.get("path_type", "hardlink") for row in rows or ()}
        if unknown := kinds - _PATH_TYPES:
            raise IntegrityError(
                f"{name} has an unknown path_type",
                expected=", ".join(sorted(_PATH_TYPES)),
                got=min(map(repr, unknown))[:200],
            )
        folders = tuple([row["_path"] for row in rows or () if row.get("path_type") == "directory"])
        rows = [row for row in rows or () if row.get("path_type") != "directory"]
        sizes = [row.get("size_in_bytes") for row in rows]
        paths = tuple([row["_path"] for row in rows])
        "".join((*paths, *folders))  # raises a TypeError where one is no string
        return paths, folders, None if None in sizes else sum(sizes)
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{name} is no list of paths") from error


def _entry_points(link: Mapping[str, Any]) -> tuple[str, ...]:
    """The commands of ``link.json``, each ``command = module:function`` there."""
    inside = link.get("noarch")
    lines = inside.get("entry_points") if isinstance(inside, dict) else None
    if not isinstance(lines or [], list) or not all(isinstance(one, str) for one in lines or ()):
        raise IntegrityError("info/link.json has entry points that are no list of texts")
    return tuple(line.partition("=")[0].strip() for line in lines or ())


def _parse_menu(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None  # menuinst makes nothing of it either


def _parse_object(name: str, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{name} is no JSON") from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{name} is no JSON object")
    return value


def _noarch(index: Mapping[str, Any], link: Mapping[str, Any]) -> Noarch | None:
    """The kind of ``noarch``; conda-build 1 wrote ``true`` here and the kind into ``link.json``."""
    inside = link.get("noarch")
    kinds = (index.get("noarch"), inside.get("type") if isinstance(inside, dict) else None)
    if "python" in kinds:
        return "python"
    return "generic" if index.get("noarch") else None


def _about(index: Mapping[str, Any], about: Mapping[str, Any]) -> About:
    def text(*names: str) -> str | None:
        values = (mapping.get(name) for name in names for mapping in (index, about))
        return next((value for value in values if isinstance(value, str) and value), None)

    return About(
        licence=text("license"),
        licence_family=text("license_family"),
        summary=text("summary"),
        home=text("home"),
        source=text("source_url", "dev_url"),
    )
