"""An environment on a target, compared with what it should hold."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from repack.errors import UsageError
from repack.fs import atomic
from repack.prefix.conda_meta import read_meta

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repack.channel.install_plan import InstallPlan

_THREADS: Final = 4
_ANY_PYTHON: Final = "/site-packages/"


def packages(prefix: Path, delivery: InstallPlan) -> list[str]:
    """What ``conda-meta`` says otherwise than the release, a line each; empty when it is exact.

    Raises:
        PlaceError: it cannot be read.
    """
    try:
        metas = read_meta(prefix, prefix)
    except UsageError as error:
        return [error.what]
    found = []
    wanted = {f"{parcel.dist}.json": parcel for parcel in delivery.parcels}
    for name in sorted(wanted.keys() | metas.keys()):
        if name not in metas:
            found.append(f"{name.removesuffix('.json')} is missing")
        elif name not in wanted:
            found.append(f"{name.removesuffix('.json')} was added")
        elif metas[name].get("sha256") != wanted[name].sha256:
            found.append(f"{name.removesuffix('.json')} is another package of that name")
    return found


def contents(prefix: Path) -> list[str]:
    """Files of packages that are missing or changed, a line each; added files don't count.

    Raises:
        PlaceError: it cannot be read.
    """
    try:
        metas = read_meta(prefix, prefix)
    except UsageError as error:
        return [error.what]
    rows = [(prefix / path, sha) for meta in metas.values() for path, sha in _listed(meta)]
    with ThreadPoolExecutor(_THREADS) as pool:
        verdicts = pool.map(lambda row: _fault(*row), rows)
        return [
            f"{path.relative_to(prefix).as_posix()} {fault}"
            for (path, _), fault in zip(rows, verdicts, strict=True)
            if fault
        ]


def _listed(meta: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Paths and what they should hash to; None for links, and where the client noted nothing."""
    data, there = meta.get("paths_data"), meta.get("files") or []
    rows = data.get("paths", []) if isinstance(data, dict) else []
    if not rows:  # conda 4.3 notes no more than this
        yield from ((path, None) for path in there)
        return
    known, ends = {*there}, {path.rpartition("site-packages/")[2]: path for path in there}
    for row in rows:
        path, digest = row["_path"], row.get("sha256_in_prefix") or row.get("sha256")
        if path not in known and _ANY_PYTHON in f"/{path}":
            # conda notes where a package for any Python has its files, not where it put them
            path = ends.get(path.rpartition("site-packages/")[2], path)
        yield path, digest if row.get("path_type") == "hardlink" else None


def _fault(path: Path, digest: str | None) -> str | None:
    if not os.path.lexists(path):
        return "is missing"
    if digest is None or path.is_symlink():
        return None
    with atomic.os_errors_at(path), path.open("rb") as stream:
        got = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if got == digest else "was changed"


def changed_since(folder: Path, moment_ns: int) -> bool:
    """Whether a file below ``folder`` was written after ``moment_ns``, or the folder is gone.

    Unpacking gives files the times they have in the package, so one that is younger than the
    unpacking was written by somebody, most likely through a hard link in an environment.
    """
    todo = [os.fspath(folder)]
    try:
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif entry.stat(follow_symlinks=False).st_mtime_ns > moment_ns:
                        return True
    except OSError:
        return True
    return False
