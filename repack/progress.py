"""How a step tells of its progress, and the way to hear nothing of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

Unit = Literal["bytes", "packages", "files"]


class Progress(Protocol):
    """Hears what a step does. The functions it hands out may be called from any thread."""

    def phase(
        self, what: str, total: int | None, unit: Unit
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Open a phase of ``total`` units; the function given is told how many more are done."""

    def note(self, text: str) -> None:
        """Say one line, such as a warning."""


class Silent:
    """Hears everything and says nothing."""

    @contextlib.contextmanager
    def phase(self, what: str, total: int | None, unit: Unit) -> Iterator[Callable[[int], None]]:
        """Count nothing."""
        del what, total, unit
        yield lambda _done: None

    def note(self, text: str) -> None:
        """Drop it."""
        del text


SILENT = Silent()
