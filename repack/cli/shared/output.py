"""What people and scripts see: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from repack.display import terminal
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from repack.progress import Unit


class Plain:
    """For a stderr that is no terminal: notes only."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int | None, unit: Unit) -> Iterator[Callable[[int], None]]:
        """Draw nothing."""
        with SILENT.phase(what, total, unit) as advance:
            yield advance

    def note(self, text: str) -> None:
        """Print the line."""
        echo(text, err=True)


class Bars:
    """For a terminal: a bar for each phase, removed when the phase is over."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextlib.contextmanager
    def phase(self, what: str, total: int | None, unit: Unit) -> Iterator[Callable[[int], None]]:
        """Draw a bar."""
        from rich import progress as bars

        amount = (
            (bars.DownloadColumn(), bars.TransferSpeedColumn())
            if unit == "bytes"
            else (bars.MofNCompleteColumn(),)
        )
        columns = (bars.TextColumn("{task.description:>8}"), bars.BarColumn(), *amount)
        with bars.Progress(*columns, console=self._console, transient=True) as drawn:
            task = drawn.add_task(what, total=total)
            yield lambda count: drawn.advance(task, count)

    def note(self, text: str) -> None:
        """Print the line above the bars."""
        self._console.print(terminal(text), markup=False, highlight=False)


def echo(text: str, *, err: bool = False) -> None:
    """Print text: the only way from the commands to a terminal."""
    click.echo(terminal(text), err=err)


def echo_json(document: str) -> None:
    """Print a JSON document; what a terminal would obey is escaped as JSON does it."""
    if not document.isprintable():
        document = "".join(
            c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in document
        )
    click.echo(document)


class Lines(Plain):
    """For ``--verbose``: a line when a phase begins and one when it has ended."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int | None, unit: Unit) -> Iterator[Callable[[int], None]]:
        """Print what is done and of how much."""
        began, size = time.monotonic(), "" if total is None else f", {total} {unit}"
        click.echo(f"{what}{size} …", err=True)
        with SILENT.phase(what, total, unit) as advance:
            yield advance
        click.echo(f"{what}: {time.monotonic() - began:.1f} s", err=True)


def progress() -> Progress:
    """Bars on a terminal, notes elsewhere; nothing with ``--quiet``, lines with ``--verbose``."""
    context = click.get_current_context(silent=True)
    talk = context.find_root().meta.get("repack.talk") if context else None
    if talk == "quiet":
        return SILENT
    if talk == "verbose":
        return Lines()
    return Bars() if sys.stderr.isatty() else Plain()


def emit(result: object, lines: Iterable[str], *, as_json: bool) -> None:
    """Print the result of a command: one JSON document, or lines for people.

    Args:
        result: JSON values, and objects that have ``to_json()``, in any nesting.
        lines: the text. With ``as_json`` it is not iterated, so a generator costs nothing then.
    """
    if as_json:
        print_json(result)
    else:
        for line in lines:
            echo(line)


def print_json(result: object) -> None:
    """Print one JSON document; ``result`` as for :func:`emit`."""
    echo_json(json.dumps(result, indent=1, ensure_ascii=False, default=_to_json))


def _to_json(value: Any) -> object:
    return value.to_json()
