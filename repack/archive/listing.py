"""The files of one package, from the description inside its archive."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

from repack.archive.reader import parts
from repack.archive.tar_reader import Tar
from repack.errors import IntegrityError
from repack.fs.atomic import faults_at

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

_LIMIT: Final = 1 << 34  # bytes of tar to look through
_LIMIT_OF_LIST: Final = 256 << 20
_PATHS: Final = "info/paths.json"


def listed(path: Path, fn: str) -> list[dict[str, Any]]:
    """The rows of ``info/paths.json``; empty when the package ``fn`` has none.

    Raises:
        IntegrityError: the archive is damaged, or the list is.
        PlaceError: it cannot be read.
    """
    with (
        faults_at(path),
        path.open("rb") as stream,
        contextlib.closing(parts(stream, fn)) as streams,
    ):
        for chunks in streams:
            tar = Tar(chunks, _LIMIT)
            for member in tar:
                if member.name == _PATHS:
                    return _rows(tar.data(_LIMIT_OF_LIST), fn)
    return []


def _rows(data: bytes, fn: str) -> list[dict[str, Any]]:
    try:
        return [dict(row) for row in json.loads(data)["paths"]]
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise IntegrityError("the package's list of files is broken", where=fn) from fault
