"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.settings import Options, Settings

PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


def _default_store() -> Path:
    from repack.settings import default_store

    return default_store()


labels_dir = click.option(
    "--labels-dir", type=FOLDER, default=Path("labels"), show_default=True, help="Label files."
)
channels_dir = click.option(
    "--channels-dir",
    type=FOLDER,
    default=Path("channels"),
    show_default=True,
    help="Published channels.",
)
store = click.option(
    "--store",
    type=FOLDER,
    envvar="REPACK_STORE",
    default=_default_store,
    help="Package store shared by all labels [default: the user's cache folder].",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")
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


def settings(values: Mapping[str, Any]) -> Settings:
    """The build settings from a command's options, which are named as those of ``repack.build``.

    Raises:
        UsageError: ``SOURCE_DATE_EPOCH`` is no number.
    """
    from repack.settings import Settings

    names = (
        "labels_dir",
        "channels_dir",
        "store",
        "env",
        "prove",
        "update",
        "date_consent",
        "paranoid",
    )
    chosen = {name: values[name] for name in names if values.get(name) is not None}
    return Settings.of(cast("Options", {**chosen, "environment": environment(), "now": now()}))
