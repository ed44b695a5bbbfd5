"""How long the paths of a label's packages are on Windows, and so how long a prefix may be.

Source: Microsoft, "Maximum Path Length Limitation": a path has at most 259 characters (260 with
the closing zero), a folder's at most 247, so that a file name of 8.3 fits behind it. Characters are
UTF-16 code units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from repack.archive.facts import Facts, Noarch
    from repack.conda.record import Record

PATH_LIMIT: Final = 259
_SHORT_NAME: Final = 12  # of 8.3, with the separator that follows the folder
_BYTECODE: Final = ".cpython-311.pyc"  # the longest suffix of today's CPythons


class PathLengths(Struct, frozen=True):
    """The longest paths of a label's packages, for a Windows machine without long paths.

    Attributes:
        cached: the longest path in a package cache, as ``pkgs/DIST/PATH``.
        linked: the longest path in a prefix.
        longest_root: characters that the folder holding ``pkgs`` may have.
        longest_prefix: characters that the prefix may have.
    """

    cached: str
    linked: str
    longest_root: int
    longest_prefix: int

    @classmethod
    def of(cls, packages: Iterable[tuple[Record, Facts]]) -> PathLengths:
        """The path lengths of all ``packages`` together."""
        pairs = list(packages)
        cached = longest([f"pkgs/{record.dist}/{facts.longest_path}" for record, facts in pairs])
        linked = longest([facts.longest_linked for _, facts in pairs])
        return cls(
            cached=cached,
            linked=linked,
            longest_root=PATH_LIMIT - 1 - length(cached),
            longest_prefix=PATH_LIMIT - 1 - length(linked),
        )


def length(path: str) -> int:
    """Characters that ``path`` needs, including those that Windows reserves behind its folder."""
    folder = path.rpartition("/")[0]
    return max(_units(path), _units(folder) + _SHORT_NAME if folder else 0)


def longest(paths: Sequence[str]) -> str:
    """The path that needs the most characters; of several, the first in sort order."""
    if not paths:
        return ""
    most = max(map(len, paths))
    # Only paths close to the longest need a closer look: a folder adds at most twelve characters,
    # and outside the basic plane a character counts twice.
    close = [path for path in paths if len(path) >= most - _SHORT_NAME]
    if not "".join(paths).isascii():
        close += [path for path in paths if not path.isascii()]
    return min(close, key=lambda path: (-length(path), path))


def linked_path(path: str, noarch: Noarch | None) -> str:
    """The path of a package's file below a Windows prefix, or of its byte code, which is longer.

    Source: CEP 34, "noarch: python"; conda ``conda/core/path_actions.py``.
    """
    if noarch != "python":
        return path
    if path.startswith("python-scripts/"):
        return f"Scripts/{path.removeprefix('python-scripts/')}"
    if not path.startswith("site-packages/"):
        return path
    if path.endswith(".py"):
        folder, _, name = path.rpartition("/")
        return f"Lib/{folder}/__pycache__/{name.removesuffix('.py')}{_BYTECODE}"
    return f"Lib/{path}"


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
