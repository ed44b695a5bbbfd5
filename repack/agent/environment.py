"""An environment on a target, compared with what it should hold."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from repack.errors import UsageError
from repack.fs import atomic, beneath
from repack.prefix.conda_meta import read_meta

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repack.channel.install_plan import InstallPlan

_THREADS: Final = 4


def compare_packages(prefix: Path, plan: InstallPlan) -> list[str]:
    """The differences between ``conda-meta`` and the release, a line each.

    Raises:
        PlaceError: it cannot be read.
    """
    try:
        metas = read_meta(prefix, prefix)
    except UsageError as error:
        return [error.what]
    differences = []
    package_by_name = {f"{package.dist}.json": package for package in plan.packages}
    for name in sorted(package_by_name.keys() | metas.keys()):
        if name not in metas:
            differences.append(f"{name.removesuffix('.json')} is missing")
        elif name not in package_by_name:
            differences.append(f"{name.removesuffix('.json')} was added")
        elif metas[name].get("sha256") != package_by_name[name].sha256:
            differences.append(f"{name.removesuffix('.json')} is another package of that name")
    return differences


def compare_files(prefix: Path) -> list[str]:
    """Files of packages that are missing or changed, a line each; added files don't count.

    Raises:
        PlaceError: it cannot be read.
    """
    try:
        metas = read_meta(prefix, prefix)
    except UsageError as error:
        return [error.what]
    files = [(prefix / path, sha) for meta in metas.values() for path, sha in _listed_files(meta)]
    with ThreadPoolExecutor(_THREADS) as pool:
        faults = pool.map(lambda file: _file_fault(prefix, *file), files)
        return [
            f"{path.relative_to(prefix).as_posix()} {fault}"
            for (path, _), fault in zip(files, faults, strict=True)
            if fault
        ]


def _listed_files(meta: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Paths and their SHA-256; None for links, and where the client recorded none."""
    data, paths = meta.get("paths_data"), meta.get("files") or []
    rows = data.get("paths", []) if isinstance(data, dict) else []
    if not rows:  # conda 4.3 records no more than the paths
        yield from ((path, None) for path in paths)
        return
    # For noarch Python packages conda's paths_data has the paths of the archive
    # (site-packages/…), but "files" those of the prefix (lib/python3.11/site-packages/…).
    installed = {*paths}
    path_by_end = {path.rpartition("site-packages/")[2]: path for path in paths}
    for row in rows:
        path, digest = row["_path"], row.get("sha256_in_prefix") or row.get("sha256")
        if path not in installed and "/site-packages/" in f"/{path}":
            path = path_by_end.get(path.rpartition("site-packages/")[2], path)
        yield path, digest if row.get("path_type") == "hardlink" else None


def _file_fault(prefix: Path, path: Path, digest: str | None) -> str | None:
    if not os.path.lexists(path):
        return "is missing"
    if digest is None or path.is_symlink():
        return None
    with atomic.os_errors_at(path), beneath.reading_inside(path, prefix) as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if actual == digest else "was changed"


def changed_since(folder: Path, moment_ns: int) -> bool:
    """Whether a file below ``folder`` was written after ``moment_ns``, or the folder is gone.

    Unpacking gives files the times they have in the package, so one that is younger than the
    unpacking was written by somebody, most likely through a hard link in an environment.
    """
    folders = [os.fspath(folder)]
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.stat(follow_symlinks=False).st_mtime_ns > moment_ns:
                        return True
    except OSError:
        return True
    return False
