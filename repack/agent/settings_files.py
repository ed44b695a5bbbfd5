"""Where a target's settings and its pinned root are looked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repack import host
from repack.agent.settings import LIMIT, Snippet
from repack.errors import MetadataNotFoundError, PlaceError
from repack.fs import atomic
from repack.trust.metadata import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.agent.settings import PathIn

_ROOT: Final = "root.json"


def snippets(given: Sequence[Path], environment: Mapping[str, str]) -> tuple[Snippet, ...]:
    """The settings to be merged, in order: the given files and folders, else this system's.

    Raises:
        PlaceError: a given one is not there, or one cannot be read.
    """
    found = []
    for place in given or _usual(environment):
        if given and not place.exists():
            raise PlaceError("no such settings", where=place)
        paths = sorted(place.glob("*.toml")) if place.is_dir() else [place]
        found += [path for path in paths if path.is_file()]
    return tuple(
        Snippet(str(path), str(path.absolute().parent), atomic.read(path, LIMIT)) for path in found
    )


def _usual(environment: Mapping[str, str]) -> tuple[Path, ...]:
    if sys.platform == "win32":
        base = Path(environment.get("PROGRAMDATA", r"C:\ProgramData")) / "repack"
        return (base / "repack.toml", base / "conf.d")
    return (
        Path("/usr/lib/repack/conf.d"),
        Path("/var/lib/repack/repack.toml"),
        Path("/etc/repack/conf.d"),
    )


def storage(given: PathIn | None, environment: Mapping[str, str]) -> Path:
    """Where labels are installed.

    A short path, because packages write it into their files; below the user's own folder for those
    who are no administrators.
    """
    if given is not None:
        return Path(given.folder) / given.text
    if not host.host_facts().user_is_admin:
        from platformdirs import user_data_path

        return user_data_path("repack", appauthor=False)
    if sys.platform == "win32":
        return Path(environment.get("PROGRAMDATA", r"C:\ProgramData")) / "repack" / "labels"
    return Path("/opt/repack")


def pinned_root(given: PathIn | None, read: Sequence[Snippet]) -> bytes:
    """The root that this target was given.

    It is the one that is set, else ``root.json`` beside the settings. The medium's own root is never taken: whoever made the medium made that too.

    Raises:
        MetadataNotFoundError: there is none.
        PlaceError: it cannot be read.
    """
    if given is not None:
        return atomic.read(Path(given.folder) / given.text, MAX_BYTES)
    folders = [Path(snippet.folder) for snippet in reversed(read)]
    places = [
        *(folder / _ROOT for folder in folders),
        *(folder.parent / _ROOT for folder in folders if folder.name == "conf.d"),
    ]
    for place in places:
        if place.is_file():
            return atomic.read(place, MAX_BYTES)
    raise MetadataNotFoundError(
        "this target has no pinned root",
        expected=places[0] if places else None,
        hint="copy the vendor's 1.root.json there, by a way you trust, or set [trust] root",
    )
