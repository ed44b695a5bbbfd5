"""What is noted of an archive while its members go by, and what is concluded in the end.

Sources of the format: CEP 34 (contents of a package), and conda-build's
``conda_build/build.py`` for what older packages hold.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from repack.archive.facts import About, Depth, Facts, Noarch, Script
from repack.archive.members import SHOWN, case_twins, check_links, check_names, windows_faults
from repack.archive.path_length import linked_path, longest
from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.archive.tar_reader import TarMember

_WANTED: Final = {  # bytes each may have at most
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
_URL: Final = re.compile(
    rb"\b(?:https?|ftps?|s3|gs|git|ssh)://[^\s\"'<>`|;)\]}]{1,300}", re.IGNORECASE
)
# Room for what no list of files tells of: headers, padding, what lies under `info/`.
_SLACK: Final = 256 << 20
_RATIO: Final = 1000


class ArchiveScan:
    """Notes on one archive.

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
        self._listed_scripts: set[str] = set()
        self._unpacked: int | None = None

    def see(self, member: TarMember) -> int:
        """Note a member; says how many bytes of it :meth:`keep` wants to have.

        Raises:
            IntegrityError: it is there twice, or a hard link to nothing.
        """
        name = member.name.removeprefix("./")
        if member.kind == "folder":
            if name != ".":
                self._folders.add(name)
            return 0
        if name in self._seen:
            raise IntegrityError("archive holds a file twice", got=name)
        if member.kind == "hardlink" and member.target.removeprefix("./") not in self._seen:
            raise IntegrityError("archive holds a hard link to nothing", got=name)
        if member.kind == "symlink":
            self._symlinks[name] = member.target
        self._seen.add(name)
        self._names.append(name)
        if member.kind != "file":
            return 0
        return _SCRIPT_LIMIT if _SCRIPT.fullmatch(name) else _WANTED.get(name, 0)

    def keep(self, member: TarMember, data: bytes) -> None:
        """Take the data that :meth:`see` asked for.

        Raises:
            IntegrityError: a file of the description is too long.
        """
        name = member.name.removeprefix("./")
        if found := _SCRIPT.fullmatch(name):
            urls = dict.fromkeys(url.decode("utf-8", "replace") for url in _URL.findall(data))
            self._scripts[name] = Script(name, found[1].lower(), tuple(urls)[:SHOWN])
        elif member.size > len(data):
            raise IntegrityError(f"{name} is too large", expected=f"at most {len(data)} bytes")
        elif name in ("info/paths.json", "info/files"):
            self._list(name, data)
        else:
            self._info[name] = data

    def unpacked_limit(self) -> int:
        """Bytes the archive may unpack to, by its own list of files if that is known yet."""
        if self._unpacked is None:
            return self._size * _RATIO + _SLACK
        return self._unpacked * 5 // 4 + _SLACK

    def described(self) -> bool:
        """Whether all is known that the description inside the archive can tell."""
        if self._paths is None or "info/index.json" not in self._info:
            return False
        return self._listed_scripts <= self._scripts.keys()

    def facts(self, depth: Depth) -> Facts:
        """Conclude.

        Raises:
            IntegrityError: the description is missing or broken, a path is unsafe, a link leads
                out, or (``whole``) a file of the list is missing.
        """
        if "info/index.json" not in self._info:
            raise IntegrityError("archive has no info/index.json, so it is no conda package")
        if self._paths is None:
            raise IntegrityError("archive has neither info/paths.json nor info/files")
        index, link = self._field("info/index.json"), self._field("info/link.json")
        check_names(self._names)
        check_names(tuple(self._folders))
        check_names(self._paths)
        check_links(self._symlinks, self._names)
        unlisted = self._agree() if depth == "whole" else ()
        noarch = _noarch(index, link)
        below_info = [name for name in self._names if name.startswith("info/")]
        subdir = str(index.get("subdir", ""))
        for_windows = noarch is not None or subdir.startswith(("win-", "noarch"))
        return Facts(
            depth=depth,
            index=index,
            about=_about(index, self._field("info/about.json")),
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
        )

    def _agree(self) -> tuple[str, ...]:
        """Compare the members with the list; what is not on it is never installed."""
        listed = set(self._paths or ())
        if missing := listed - self._seen - self._folders:
            raise IntegrityError(
                "archive lacks files that it says it installs",
                expected=f"{len(listed)} files",
                got=f"{len(missing)} are missing, as {min(missing)}",
            )
        extra = sorted(name for name in self._seen - listed if not name.startswith("info/"))
        return tuple(extra[:SHOWN])

    def _list(self, name: str, data: bytes) -> None:
        """Read the list of files; ``paths.json`` outdoes the old ``files``, which has no sizes."""
        if name == "info/paths.json":
            self._paths, self._unpacked = _listed(name, data)
        elif self._paths is None:
            lines = _decoded(name, data).splitlines()
            self._paths = tuple([line.strip() for line in lines if line.strip()])
        self._listed_scripts = {path for path in self._paths or () if _SCRIPT.fullmatch(path)}

    def _field(self, name: str) -> dict[str, Any]:
        return _json(name, self._info[name]) if name in self._info else {}


def _listed(name: str, data: bytes) -> tuple[tuple[str, ...], int | None]:
    """The files of ``paths.json`` and their bytes together; folders are not counted."""
    rows = _json(name, data).get("paths")
    try:
        rows = [row for row in rows or () if row.get("path_type") != "directory"]
        sizes = [row.get("size_in_bytes") for row in rows]
        paths = tuple([row["_path"] for row in rows])
        "".join(paths)  # strings, all of them
        return paths, None if None in sizes else sum(sizes)
    except (KeyError, TypeError, AttributeError) as fault:
        raise IntegrityError(f"{name} is no list of paths") from fault


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise IntegrityError(f"{name} is not UTF-8") from fault


def _json(name: str, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise IntegrityError(f"{name} is no JSON") from fault
    if not isinstance(value, dict):
        raise IntegrityError(f"{name} is no JSON object")
    return value


def _noarch(index: Mapping[str, Any], link: Mapping[str, Any]) -> Noarch | None:
    """The kind of ``noarch``; conda-build 1 wrote ``true`` and told the rest in ``link.json``."""
    inside = link.get("noarch")
    kinds = (index.get("noarch"), inside.get("type") if isinstance(inside, dict) else None)
    if "python" in kinds:
        return "python"
    return "generic" if index.get("noarch") else None


def _about(index: Mapping[str, Any], about: Mapping[str, Any]) -> About:
    def text(*names: str) -> str | None:
        found = (mapping.get(name) for name in names for mapping in (index, about))
        return next((value for value in found if isinstance(value, str) and value), None)

    return About(
        licence=text("license"),
        licence_family=text("license_family"),
        summary=text("summary"),
        home=text("home"),
        source=text("source_url", "dev_url"),
    )
