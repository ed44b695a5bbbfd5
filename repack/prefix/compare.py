"""A prefix after linking, compared with what its packages say that they install."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from repack.archive.members import check_names
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic
from repack.prefix.conda_meta import read_meta

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repack.archive.installed_paths import CheckedEnvironment

# What clients add: their records, rattler's place for files that two packages bring, our own.
_OF_CLIENTS: Final = frozenset({"conda-meta", "__clobbers__", ".repack"})
_SHOWN: Final = 5


def check_prefix(prefix: Path, packages: CheckedEnvironment) -> None:
    """Check that a new prefix holds what the packages install, and no link that leads out.

    Link scripts may add files, which is their purpose, so an unlisted plain file is no fault; an
    unlisted link is.

    Raises:
        IntegrityError: a package's list leads out of the prefix, a link is none that was checked,
            or a link leads out.
        PlaceError: the prefix cannot be read.
    """
    if not packages.records:
        return
    root = os.path.realpath(prefix)
    try:
        metas = read_meta(prefix, prefix)
    except UsageError as error:
        raise IntegrityError(error.what, where=error.where, got=error.got) from None
    for meta in metas.values():
        check_names([str(path) for path in meta.get("files") or ()])
    with atomic.os_errors_at(prefix):
        faults = list(_link_faults(root, packages.links))
    if faults:
        raise IntegrityError(
            "the linked environment has links that its packages did not bring",
            where=prefix,
            got="; ".join(faults[:_SHOWN]),
        )


def _link_faults(root: str, links: Mapping[str, frozenset[str]]) -> Iterator[str]:
    inside = root.rstrip(os.sep) + os.sep
    for entry in _entries(root):
        if not entry.is_symlink():
            continue
        path = os.path.relpath(entry.path, root).replace(os.sep, "/")
        resolved = os.path.realpath(entry.path)
        if resolved != root and not resolved.startswith(inside):
            yield f"{path} leads out"
        elif path not in links and path.partition("/")[0] not in _OF_CLIENTS:
            yield f"{path} is on no list"


def _entries(folder: str) -> Iterator[os.DirEntry[Any]]:
    """Every entry below ``folder``; what cannot be listed raises."""
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                yield entry
