"""Types of arguments for which shells complete what there is: labels, releases, tags.

A completion has nobody to tell of an error: what cannot be read offers nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from repack.cli.shared import project
from repack.errors import RepackError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from click.shell_completion import CompletionItem


class _Label(click.ParamType[str]):
    """The name of a label; those that have a file or a channel here."""

    name = "label"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Labels that begin with ``incomplete``."""
        from repack.channel.folder import Channels
        from repack.label import files
        from repack.report import failures

        del param
        labels: set[str] = set()
        with contextlib.suppress(RepackError, OSError):
            labels |= set(files.names(_folder(ctx, "labels_dir")))
        with contextlib.suppress(RepackError, OSError):
            labels |= set(failures.labels(Channels(_folder(ctx, "channels_dir"))))
        return _items(sorted(labels), incomplete)


class _Release(click.IntRange):
    """The number of a release; those that are kept, the newest first."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Numbers that begin with ``incomplete``."""
        from repack.channel.folder import Channels
        from repack.names import LabelName

        del param
        numbers: list[int] = []
        with contextlib.suppress(RepackError, OSError):
            channels = Channels(_folder(ctx, "channels_dir"))
            numbers = list(channels.releases(LabelName(_label(ctx))))
        return _items(map(str, sorted(numbers, reverse=True)), incomplete)


class _Tag(click.ParamType[str]):
    """A tag; those that releases of the label were signed for."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Tags that begin with ``incomplete``."""
        from repack.channel.folder import Channels
        from repack.channel.metadata_folder import newest
        from repack.names import LabelName
        from repack.trust.summary import summarize_metadata

        del param
        tags: set[str] = set()
        with contextlib.suppress(RepackError, OSError):
            files = newest(Channels(_folder(ctx, "channels_dir")), LabelName(_label(ctx)))
            by_role = summarize_metadata(files).tags.values()
            tags = {tag for by_release in by_role for row in by_release.values() for tag in row}
        return _items(sorted(tags), incomplete)


def _items(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


_USUAL: Final = {"labels_dir": Path("labels"), "channels_dir": Path("channels")}


def _folder(context: click.Context, name: str) -> Path:
    """What a folder option says, or its default; the command line is still being typed."""
    value = context.params.get(name) or os.environ.get(f"REPACK_{name.upper()}")
    return Path(value or project.default(name, lambda: _USUAL[name])())


def _label(context: click.Context) -> str:
    if name := context.params.get("name"):
        return str(name)
    # click reads no arguments when the last word is an option that still wants its value.
    from click.shell_completion import split_arg_string

    words = split_arg_string(os.environ.get("COMP_WORDS", ""))[
        context.command_path.count(" ") + 1 :
    ]
    return next((word for word in words if not word.startswith("-")), "")


LABEL: Final = _Label()
RELEASE: Final = _Release(min=1)
TAG: Final = _Tag()
