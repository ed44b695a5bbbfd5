"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from repack.cli.shared import project
from repack.cli.shared.completions import LABEL, RELEASE, TAG
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repack.settings import Options, Settings

F = TypeVar("F", bound="Callable[..., Any]")

__all__ = ["LABEL", "RELEASE", "TAG"]

PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


def _default_store() -> Path:
    from repack.settings import default_store

    return default_store()


def _set_talk(context: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's own signature
    """Remember for :func:`repack.cli.shared.output.progress` how much to say."""
    if value:
        context.find_root().meta["repack.talk"] = parameter.name


labels_dir = click.option(
    "--labels-dir",
    type=FOLDER,
    envvar="REPACK_LABELS_DIR",
    default=project.default("labels_dir", lambda: Path("labels")),
    help="Label files  [default: labels].",
)
channels_dir = click.option(
    "--channels-dir",
    type=FOLDER,
    envvar="REPACK_CHANNELS_DIR",
    default=project.default("channels_dir", lambda: Path("channels")),
    help="Published channels  [default: channels].",
)
store = click.option(
    "--store",
    type=FOLDER,
    envvar="REPACK_STORE",
    default=project.default("store", _default_store),
    help="Package store shared by all labels [default: the user's cache folder].",
)
sites_dir = click.option(
    "--sites-dir",
    type=FOLDER,
    envvar="REPACK_SITES_DIR",
    default=Path("sites"),
    show_default=True,
    help="What sites said of themselves.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
_quiet = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=_set_talk,
    help="No progress and no notes on stderr.",
)  # fmt: skip
_verbose = click.option(
    "-v", "--verbose", is_flag=True, expose_value=False, callback=_set_talk,
    help="Say on stderr what is done, line by line.",
)  # fmt: skip


def as_json(command: F) -> F:
    """``--json``, ``-q`` and ``-v``, which every command has."""
    return _json(_quiet(_verbose(command)))


dry_run = click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and stop.")
channel = click.option(
    "-c",
    "--channel",
    "channels",
    metavar="URL",
    multiple=True,
    help="A channel, by URL, path or name; in priority order. Then no label file is needed.",
)
platform = click.option(
    "-p",
    "--platform",
    "platforms",
    metavar="SUBDIR[=__NAME=VALUE,…]",
    multiple=True,
    callback=lambda _context, _parameter, values: read_platforms(values),
    help="A platform and what its machines have, as in linux-64=__glibc=2.28"
    " [default: this machine's].",
)
factors = click.option(
    "--factors", type=PATH, envvar="REPACK_FACTORS", help="The device's factors, as JSON."
)
date_consent = click.option(
    "--yes-i-checked-the-date",
    "date_consent",
    metavar="DATE/OTHER",
    help="Sign with DATE although it is before the last signing, or not today's: OTHER.",
)


def environment() -> Mapping[str, str]:
    """The process's variables; the only place that reads them."""
    return dict(os.environ)


def now() -> dt.datetime:
    """The present moment, or ``SOURCE_DATE_EPOCH`` for builds to be compared byte for byte.

    Raises:
        UsageError: the variable is no number.
    """
    epoch = environment().get("SOURCE_DATE_EPOCH")
    try:
        moment = dt.datetime.fromtimestamp(int(epoch), dt.UTC) if epoch else dt.datetime.now(dt.UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError("not a number of seconds", where="SOURCE_DATE_EPOCH", got=epoch) from None
    return moment.replace(microsecond=0)


_SETTINGS: Final = (
    "labels_dir", "channels_dir", "store", "env", "channels", "packages", "platforms", "prove",
    "update", "date_consent", "paranoid", "refresh",
)  # fmt: skip


def read_platforms(texts: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """Profiles by subdir from texts such as ``linux-64=__glibc=2.28,__cuda=12``.

    Raises:
        UsageError: a text is none of these; or the platform is none that repack builds for.
    """
    from repack.codec.schema import suggest
    from repack.conda.subdir import PLATFORMS
    from repack.conda.virtual_packages import profile_names

    profiles: dict[str, dict[str, str | None]] = {}
    for text in texts:
        subdir, _, values = text.partition("=")
        where = f"-p {text}"
        if subdir not in PLATFORMS:
            builds = f"repack builds for {' and '.join(PLATFORMS)}"
            hint = suggest(subdir, PLATFORMS) or builds
            raise UsageError(f"unknown platform {subdir[:60]!r}", where=where, hint=hint)
        profile = profiles.setdefault(subdir, {})
        for pair in filter(None, values.split(",")):
            name, equals, value = pair.strip().partition("=")
            known = {*profile_names(subdir), "conda"}
            if name not in known:
                hint = suggest(name, known) or f"known for {subdir}: {', '.join(sorted(known))}"
                what = f"{name[:60]!r} is no virtual package of {subdir}"
                raise UsageError(what, where=where, hint=hint)
            if not equals:
                hint = f"write {subdir}={name}=2.28, or {subdir}={name}= for a machine without"
                raise UsageError(f"{name} has no value", where=where, hint=hint)
            profile[name] = value or None
    return profiles


def settings(values: Mapping[str, Any]) -> Settings:
    """The build settings from a command's options, which are named as those of ``repack.build``.

    Raises:
        UsageError: ``SOURCE_DATE_EPOCH`` is no number.
    """
    from repack.settings import Settings

    chosen = {name: values[name] for name in _SETTINGS if values.get(name) is not None}
    return Settings.of(cast("Options", {**chosen, "environment": environment(), "now": now()}))
