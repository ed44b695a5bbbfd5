"""What conda calls a distribution of PyPI, and the other way round.

The table is the one that conda-pypi ships (from regro and grayskull, some 12,000 names); only its
data file is read, none of its code is run. Without it, or for a name that it lacks, conda's name is
the normalized one: that is right for most.
"""

from __future__ import annotations

import importlib.metadata
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.utils import canonicalize_name

from repack.errors import RepackError
from repack.fs import atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE: Final = "conda-pypi"
_FILE: Final = "grayskull_pypi_mapping.json"
_LIMIT: Final = 32 << 20


class NameMapping:
    """Names both ways.

    Args:
        own: what the label says: PyPI name -> conda name; it wins.
        table: for tests; the shipped one by default.
    """

    def __init__(
        self, own: Mapping[str, str] | None = None, table: Mapping[str, str] | None = None
    ) -> None:
        self._own = {canonicalize_name(name): conda for name, conda in (own or {}).items()}
        self._table = shipped_names() if table is None else table

    @property
    def fingerprint(self) -> str:
        """Changes whenever any name might."""
        rows = sorted(self._own.items())
        return f"{len(self._table)} {rows}"

    def conda_name(self, name: str) -> str:
        """What conda calls the distribution ``name``."""
        key = canonicalize_name(name)
        return self._own.get(key) or self._table.get(key) or key

    def is_mapped(self, name: str) -> bool:
        """Whether the label or the table names the distribution."""
        key = canonicalize_name(name)
        return key in self._own or key in self._table

    def pypi_names(self, conda_name: str) -> frozenset[str]:
        """The distributions that a conda package may be; its own name if none is known."""
        names = {
            n for n, conda in self._table.items() if conda == conda_name and n not in self._own
        }
        names |= {name for name, conda in self._own.items() if conda == conda_name}
        return frozenset(names or {canonicalize_name(conda_name)})


@cache
def shipped_names() -> Mapping[str, str]:
    """PyPI name -> conda name, from the installed conda-pypi; empty without it."""
    try:
        files = importlib.metadata.files(_PACKAGE) or []
        path = next(Path(str(file.locate())) for file in files if file.name == _FILE)
        rows = json.loads(atomic.read(path, _LIMIT))
    except (importlib.metadata.PackageNotFoundError, StopIteration, RepackError, ValueError):
        return {}
    return {
        canonicalize_name(row["pypi_name"]): row["conda_name"]
        for row in rows.values()
        if isinstance(row, dict) and row.get("pypi_name") and row.get("conda_name")
    }
