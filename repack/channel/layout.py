"""What a channel folder looks like: which files, in which order they are switched."""

from __future__ import annotations

from typing import Final

from repack.errors import IntegrityError
from repack.names import windows_fault

NOARCH: Final = "noarch"
ARCHIVE_FOLDERS: Final = (NOARCH,)
MANIFEST: Final = "repack/manifest.json"
# What systems strew about, and what conda-index (`.cache`) and Python leave behind.
_LITTER: Final = frozenset(
    {
        ".ds_store",
        "thumbs.db",
        "desktop.ini",
        "system volume information",
        ".cache",
        "__pycache__",
    }
)


def package_name(path: str) -> str:
    """The name of the package at ``path`` in a channel."""
    return path.rsplit("/", maxsplit=1)[-1].rsplit("-", 2)[0]


def is_litter(name: str) -> bool:
    """Whether a file or folder is what systems and tools drop; never ours, never signed."""
    return name.lower() in _LITTER or name.lower().startswith(("._", ".repack-"))


def publish_rank(path: str) -> tuple[int, str]:
    """Where a metadata file stands in the order of switching.

    What clients read first comes last, so that nothing names a file that is not there yet.
    """
    name = path.rsplit("/", maxsplit=1)[-1]
    if path == MANIFEST:
        return (3, path)
    if name.startswith("repodata.json"):
        return (2, path)
    return (1, path)


def check_names(paths: frozenset[str]) -> None:
    """Make sure every file system holds these paths side by side.

    Raises:
        IntegrityError: two differ only by case, or Windows cannot hold one.
    """
    seen: dict[str, str] = {}
    for path in sorted(paths):
        twin = seen.setdefault(path.lower(), path)
        if twin != path:
            raise IntegrityError(f"two files differ only by case: {twin} and {path}")
        for part in path.split("/"):
            if reason := windows_fault(part):
                raise IntegrityError(f"{part!r} {reason}", where=path)
