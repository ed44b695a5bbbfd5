"""What a channel folder looks like: which files, in which order they are switched."""

from __future__ import annotations

import re
from typing import Final

from repack.errors import IntegrityError
from repack.names import RelPath, windows_fault

RELEASES: Final = "repack/releases"


MANIFEST_PATH: Final = RelPath("repack/manifest.json")
INTEGRITY_PATH: Final = RelPath("repack/integrity.json")
METADATA_DIR: Final = RelPath("repack/metadata")
_UNLISTED: Final = re.compile(
    r"repack/(?:integrity\.json|manifest\.json|releases/[1-9][0-9]*/manifest\.json"
    r"|metadata/(?:SHA256SUMS|(?:[1-9][0-9]*\.root|timestamp|snapshot|targets|ci|production)\.json))"
)


_PACKED_ENVIRONMENT: Final = re.compile(r"bootstrap/[a-z0-9-]+/[^/\\:]+-environment\.tar\.gz")
MANIFEST: Final = "repack/manifest.json"


def publish_rank(path: str) -> tuple[int, str]:
    """Where a metadata file stands in the order of switching.

    What clients read first comes last, so that nothing names a file that is not there yet. What
    other releases keep in the folder is put aside before it is replaced.
    """
    if path.startswith(f"{RELEASES}/"):
        return (0, path)
    name = path.rsplit("/", maxsplit=1)[-1]
    if path == MANIFEST:
        return (3, path)
    if name.startswith("repodata.json"):
        return (2, path)
    return (1, path)


def is_packed_environment(path: str) -> bool:
    """Whether ``path`` is the packed environment of a platform; an artifact, but no package."""
    return _PACKED_ENVIRONMENT.fullmatch(path) is not None


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


def is_unlisted(path: str) -> bool:
    """Whether ``path`` belongs to the channel but is covered by a signature of its own."""
    return _UNLISTED.fullmatch(path) is not None
