"""Which distributions of an environment pip installed, and where from.

Sources: PyPA, "Recording the Direct URL Origin of installed distributions" (PEP 610) and "Recording
installed projects"; setuptools for ``*.egg-link`` and eggs; conda-build for ``conda.pth``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

from repack.errors import RepackError
from repack.fs import atomic, beneath
from repack.prefix.distributions import read_distribution, site_packages
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_INFO: Final = re.compile(r"(?P<name>[^-]+)-(?P<version>.+?)(-py[0-9.]+)?\.(dist|egg)-info\Z")
_EGG: Final = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-.*)?\.egg\Z")
_SEPARATORS: Final = re.compile(r"[-_.]+")
_LIMIT: Final = 1 << 20


class PipDistribution(Value, frozen=True):
    """One distribution that no conda package brought.

    Attributes:
        name: normalized (PEP 503).
        version: empty where nothing says it.
        url: where this very file came from; None when an index served it.
        sha256: of that file, where pip noted it.
        fault: why no wheel can stand for it; None for others.
    """

    hidden_fields: ClassVar = ("url",)

    name: str
    version: str
    url: str | None = None
    sha256: str = ""
    fault: str | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


def pip_distributions(
    prefix: Path,
    metas: Iterable[Mapping[str, Any]],
    listed_by_conda: Iterable[PipDistribution] = (),
) -> tuple[PipDistribution, ...]:
    """The distributions in ``prefix`` that no conda package owns, sorted by name.

    Args:
        metas: what ``conda-meta`` says of each conda package.
        listed_by_conda: what it says of others; their own metadata in ``prefix`` says more.

    Raises:
        PlaceError: a folder cannot be read.
    """
    owned: set[str] = set()
    for meta in metas:
        listed = meta.get("files")
        for path in listed if isinstance(listed, list) else []:
            _, separator, below = str(path).partition("site-packages/")
            if separator:
                owned.add(below.split("/", 1)[0])
    by_name: dict[str, PipDistribution] = {}
    with atomic.os_errors_at(prefix):
        paths = [
            folder / entry.name
            for folder in site_packages(prefix)
            for entry in beneath.scan_if_there(folder)
            if entry.name not in owned
        ]
    for path in sorted(paths, key=lambda path: path.name):
        distribution = _read(path)
        # What is there to be edited hides what was installed under its name.
        if distribution and (distribution.fault or distribution.name not in by_name):
            by_name[distribution.name] = distribution
    for distribution in listed_by_conda:
        name = _normalized(distribution.name)
        by_name.setdefault(name, PipDistribution(name, distribution.version))
    return tuple(by_name[name] for name in sorted(by_name))


def developed_paths(prefix: Path) -> tuple[str, ...]:
    """The folders that ``conda develop`` put on Python's path, as ``conda.pth`` lists them."""
    lines: list[str] = []
    for folder in site_packages(prefix):
        try:
            text = atomic.read(folder / "conda.pth", _LIMIT).decode("utf-8", "replace")
        except RepackError:
            continue
        lines += [line.strip() for line in text.splitlines()]
    return tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def _read(path: Path) -> PipDistribution | None:
    """What a file or folder in ``site-packages`` says; None for what is no distribution."""
    fn = path.name
    if fn.endswith(".egg-link"):
        name = _normalized(fn.removesuffix(".egg-link"))
        return PipDistribution(name, "", fault="is installed to be edited (egg-link)")
    if match := _EGG.match(fn):
        return PipDistribution(_normalized(match["name"]), match["version"], fault="is an egg")
    match = _INFO.match(fn)
    # pip renames what it is about to remove to `~…`.
    if match is None or fn.startswith("~"):
        return None
    installed = read_distribution(path)
    name = installed.name if installed else _normalized(match["name"])
    version = installed.version if installed else match["version"]
    return _with_origin(PipDistribution(name, version), path)


def _with_origin(distribution: PipDistribution, folder: Path) -> PipDistribution:
    """``distribution`` with what ``direct_url.json`` says."""
    name, version = distribution.name, distribution.version
    path = folder / "direct_url.json"
    if not path.is_file():
        return distribution
    try:
        document = json.loads(atomic.read(path, _LIMIT))
        url, archive = str(document["url"]), document.get("archive_info")
        if isinstance(archive, dict):
            hashes = archive.get("hashes") or {}
            noted = str(archive.get("hash") or "")
            sha256 = str(hashes.get("sha256") or noted.removeprefix("sha256="))
            return PipDistribution(name, version, url, sha256)
        is_editable = bool((document.get("dir_info") or {}).get("editable"))
    except (RepackError, ValueError, LookupError, TypeError, AttributeError):
        return PipDistribution(name, version, fault="has a direct_url.json that cannot be read")
    how = "is installed to be edited" if is_editable else "was built from a folder or repository"
    return PipDistribution(name, version, fault=how)


def _normalized(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()
