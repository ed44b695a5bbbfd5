"""What people see: progress and notes on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from repack.display import amount
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repack.progress import Unit


__all__ = ["amount", "print_json", "progress"]


class Plain:
    """For a stderr that is no terminal: notes only."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int | None, unit: Unit) -> Iterator[Callable[[int], None]]:
        """Draw nothing."""
        with SILENT.phase(what, total, unit) as done:
            yield done

    def note(self, text: str) -> None:
        """Print the line."""
        click.echo(text, err=True)


class Bars:
    """For a terminal: a bar a phase, gone when the phase is over."""

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
            yield lambda done: drawn.advance(task, done)

    def note(self, text: str) -> None:
        """Print the line above the bars."""
        self._console.print(text, markup=False, highlight=False)


def progress() -> Progress:
    """Bars on a terminal, notes elsewhere."""
    return Bars() if sys.stderr.isatty() else Plain()


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))
