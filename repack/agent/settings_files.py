"""Where a target's settings and its pinned root are looked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repack import host
from repack.agent.settings import LIMIT, Snippet
from repack.errors import MetadataNotFoundError, PlaceError
from repack.fs import atomic, beneath
from repack.trust.metadata import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.agent.settings import PathIn
    from repack.names import LabelName

_ROOT: Final = "root.json"


def _in_folder(config: Path) -> list[Path]:
    with atomic.os_errors_at(config):
        return [config / e.name for e in beneath.scan(config) if e.name.endswith(".toml")]


def read_snippets(configs: Sequence[Path], environment: Mapping[str, str]) -> tuple[Snippet, ...]:
    """Read the settings to be merged, in order.

    Args:
        configs: files and folders; without any, those of this system.

    Raises:
        PlaceError: one of ``configs`` is missing, or a file cannot be read.
    """
    paths: list[Path] = []
    for config in configs or _default_places(environment):
        if configs and not config.exists():
            raise PlaceError("no such settings", where=config)
        files = _in_folder(config) if config.is_dir() else [config]
        paths += [path for path in files if path.is_file()]
    return tuple(
        Snippet(str(path), str(path.absolute().parent), atomic.read(path, LIMIT)) for path in paths
    )


def _default_places(environment: Mapping[str, str]) -> tuple[Path, ...]:
    if sys.platform == "win32":
        base = Path(environment.get("PROGRAMDATA", r"C:\ProgramData")) / "repack"
        return (base / "repack.toml", base / "conf.d")
    return (
        Path("/usr/lib/repack/conf.d"),
        Path("/var/lib/repack/repack.toml"),
        Path("/etc/repack/conf.d"),
    )


def install_root(setting: PathIn | None, environment: Mapping[str, str]) -> Path:
    """The folder below which labels are installed.

    The default is short, because packages write the path into their files; it lies below the
    user's own folder for those who are no administrators.
    """
    if setting is not None:
        return Path(setting.folder) / setting.text
    if not host.host_facts().user_is_admin:
        from platformdirs import user_data_path

        return user_data_path("repack", appauthor=False)
    if sys.platform == "win32":
        return Path(environment.get("PROGRAMDATA", r"C:\ProgramData")) / "repack" / "labels"
    return Path("/opt/repack")


def log_file(setting: PathIn | None, environment: Mapping[str, str], label: LabelName) -> Path:
    """Where the agent logs what it does with a label: the file that is set, or one in that folder."""
    if setting is not None:
        path = Path(setting.folder) / setting.text
        return path if path.suffix == ".log" else path / f"{label}.log"
    if not host.host_facts().user_is_admin:
        from platformdirs import user_log_path

        return user_log_path("repack", appauthor=False) / f"{label}.log"
    if sys.platform == "win32":
        base = Path(environment.get("PROGRAMDATA", r"C:\ProgramData"))
        return base / "repack" / "log" / f"{label}.log"
    return Path("/var/log/repack") / f"{label}.log"


def read_pinned_root(setting: PathIn | None, snippets: Sequence[Snippet]) -> bytes:
    """Read the trusted root metadata that this target was provisioned with.

    It is the one that is set, else ``root.json`` beside the settings. The root on the medium is
    never used to start from: whoever forges a medium forges that too (TUF specification, 5.2).

    Raises:
        MetadataNotFoundError: there is none.
        PlaceError: it cannot be read.
    """
    if setting is not None:
        return atomic.read(Path(setting.folder) / setting.text, MAX_BYTES)
    folders = [Path(snippet.folder) for snippet in reversed(snippets)]
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
