"""How a step tells of its progress, and the way to hear nothing of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

Unit = Literal["bytes", "packages", "files"]


class Advance(Protocol):
    """Told that ``count`` more units are done, and the name of what is worked on."""

    def __call__(self, count: int, name: str = ..., /) -> None:
        """May be called from any thread."""


class Progress(Protocol):
    """Hears what a step does. The functions it hands out may be called from any thread."""

    def phase(self, what: str, total: int | None, unit: Unit) -> AbstractContextManager[Advance]:
        """Open a phase of ``total`` units; the function given is told how many more are done."""

    def note(self, text: str) -> None:
        """Say one line, such as a warning."""


class Silent:
    """Hears everything and says nothing."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int | None, unit: Unit) -> Iterator[Advance]:
        """Count nothing."""
        del what, total, unit
        yield lambda _count, _name="": None

    def note(self, text: str) -> None:
        """Drop it."""
        del text


SILENT = Silent()
