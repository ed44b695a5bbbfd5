"""What people and scripts see: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared.meter import Meter, reporting
from repack.display import terminal
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from repack.progress import Advance, Unit


class Plain:
    """For a stderr that is no terminal: notes, and every few seconds how far a phase is."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int | None, unit: Unit) -> Iterator[Advance]:
        """Print a line when the phase takes long."""
        meter = Meter(what, total, unit)
        with reporting(meter, lambda text: echo(text, err=True)):
            yield meter.advance

    def note(self, text: str) -> None:
        """Print the line."""
        echo(text, err=True)


class Bars:
    """For a terminal: a bar for each phase, removed when the phase is over."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextlib.contextmanager
    def phase(self, what: str, total: int | None, unit: Unit) -> Iterator[Advance]:
        """Draw a bar."""
        from rich import progress as bars

        amount = (
            (bars.DownloadColumn(), bars.TransferSpeedColumn())
            if unit == "bytes"
            else (bars.MofNCompleteColumn(),)
        )
        columns = (
            bars.TextColumn("{task.description:>8}", markup=False),
            bars.BarColumn(),
            *amount,
            bars.TimeRemainingColumn(compact=True),
            bars.TextColumn("{task.fields[name]}", markup=False),
        )
        with bars.Progress(*columns, console=self._console, transient=True) as drawn:
            task = drawn.add_task(what, total=total, name="")

            def advance(count: int, name: str = "") -> None:
                drawn.update(task, advance=count, name=terminal(name))

            yield advance

    def note(self, text: str) -> None:
        """Print the line above the bars."""
        # The terminal breaks lines where it must; what is copied from it stays whole.
        self._console.print(terminal(text), markup=False, highlight=False, soft_wrap=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print text: the only way from the commands to a terminal.

    Raises:
        OSError: standard output takes no more. On standard error nobody could be told.
    """
    if err:
        with contextlib.suppress(OSError):
            click.echo(terminal(text), err=True)
    else:
        click.echo(terminal(text))


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
    def phase(self, what: str, total: int | None, unit: Unit) -> Iterator[Advance]:
        """Print what is done and of how much."""
        began, size = time.monotonic(), "" if total is None else f", {total} {unit}"
        echo(f"{what}{size} …", err=True)
        with super().phase(what, total, unit) as advance:
            yield advance
        echo(f"{what}: {time.monotonic() - began:.1f} s", err=True)


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
