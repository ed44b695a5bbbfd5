"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repack.settings import Settings

F = TypeVar("F", bound="Callable[..., Any]")

FOLDER = click.Path(file_okay=False, path_type=Path)


def labels_dir(command: F) -> F:
    """``--labels-dir``."""
    return click.option(
        "--labels-dir", type=FOLDER, default=Path("labels"), show_default=True, help="Label files."
    )(command)


def channels_dir(command: F) -> F:
    """``--channels-dir``."""
    return click.option(
        "--channels-dir",
        type=FOLDER,
        default=Path("channels"),
        show_default=True,
        help="Published channels.",
    )(command)


def store(command: F) -> F:
    """``--store``."""
    return click.option(
        "--store",
        type=FOLDER,
        envvar="REPACK_STORE",
        default=_default_store,
        help="Package store shared by all labels [default: the user's cache folder].",
    )(command)


def _default_store() -> Path:
    from repack.settings import default_store

    return default_store()


def as_json(command: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(command)


def dry_run(command: F) -> F:
    """``--dry-run``."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done, and stop.")(
        command
    )


def file_system(command: F) -> F:
    """``--file-system``."""
    return click.option(
        "--file-system",
        type=click.Choice(["fat32", "exfat", "other"]),
        help="What DEST is to hold to, where the system cannot say it [default: look].",
    )(command)


def now(environment: Mapping[str, str]) -> dt.datetime:
    """The present moment, or ``SOURCE_DATE_EPOCH`` for builds to be compared byte for byte.

    Raises:
        UsageError: the variable is no number.
    """
    epoch = environment.get("SOURCE_DATE_EPOCH")
    try:
        moment = dt.datetime.fromtimestamp(int(epoch), dt.UTC) if epoch else dt.datetime.now(dt.UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError("not a number of seconds", where="SOURCE_DATE_EPOCH", got=epoch) from None
    return moment.replace(microsecond=0)


def environment() -> Mapping[str, str]:
    """The process's variables; the only place that reads them."""
    return dict(os.environ)


def settings(given: Mapping[str, Any]) -> Settings:
    """The build settings from a command's options.

    Raises:
        UsageError: ``SOURCE_DATE_EPOCH`` is no number.
    """
    from repack.settings import Settings

    variables = environment()
    return Settings(
        labels_dir=given["labels_dir"],
        channels_dir=given["channels_dir"],
        store_dir=given["store"],
        home=Path.home(),
        environment=variables,
        now=now(variables),
        prove=given.get("prove", "linked"),
        lock="update" if given.get("update") else "keep",
        env_file=given.get("env_file"),
    )
