"""Reads an environment that a conda made, and its package caches.

The name of a file in a cache proves nothing: whoever takes an archive from there compares its hash.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from repack.errors import RepackError, UsageError
from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

# conda-meta lists every file of a package: the largest known are about 30 MB.
_MAX_META: Final = 256 << 20
_MAX_RECORD: Final = 8 << 20
_META: Final = re.compile(r"[^.].*\.json")


def read_meta(prefix: Path, where: object) -> dict[str, Mapping[str, Any]]:
    """What ``conda-meta`` says of each package, by file name, sorted.

    Args:
        prefix: the environment.
        where: the file that names ``prefix``, for messages.

    Raises:
        UsageError: there is no such environment here, it is empty, or a file in it is no JSON.
        PlaceError: a file cannot be read.
    """
    folder = prefix / "conda-meta"
    if not folder.is_dir():
        raise UsageError(
            f"there is no conda environment at {prefix}",
            where=where,
            hint="run repack on the machine where the environment was prepared",
        )
    with atomic.os_errors_at(folder):
        paths = [folder / e.name for e in beneath.scan(folder) if _META.fullmatch(e.name)]
    if not paths:
        raise UsageError(f"the environment at {prefix} has no packages", where=where)
    return {path.name: _json_object(path, _MAX_META) for path in paths}


def cached_records(caches: Iterable[Path], dist: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What unpacked copies of ``dist`` in package caches say, best first.

    Yields:
        ``repodata_record.json`` (the solver's record), then ``index.json`` (the archive's own),
        each with its name; files that are missing or damaged are passed over.
    """
    folders = list(caches)
    for name in ("repodata_record.json", "index.json"):
        for cache in folders:
            path = cache / dist / "info" / name
            try:
                yield name, _json_object(path, _MAX_RECORD)
            except RepackError:
                continue


def _json_object(path: Path, limit: int) -> Mapping[str, Any]:
    try:
        document = json.loads(atomic.read(path, limit))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not JSON: {error}"[:200], where=path) from None
    if not isinstance(document, dict):
        raise UsageError("not a JSON object", where=path)
    return document
