"""The tree of a file a person wrote, and the mistakes found in it.

A scalar keeps the spelling it has in the file; every node knows its line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from repack.errors import LabelError, Problem

Kind = Literal["text", "int", "float", "bool", "null", "date"]

MAX_DEPTH: Final = 60


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, as spelt; ``kind`` is what a YAML or JSON reader would make of it."""

    line: int
    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    values: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value; the line is the key's."""

    key: str
    line: int
    value: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping in the file's order. A key may stand twice: the reader says so."""

    line: int
    entries: tuple[Entry, ...]

    def get(self, key: str) -> Node | None:
        """The value of ``key``, or None when it is not there."""
        return next((entry.value for entry in self.entries if entry.key == key), None)


Node = Scalar | Items | Table


class Findings:
    """Collects the mistakes of one file, to be told all at once.

    Args:
        where: the file, as the messages shall name it.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._found: list[tuple[int, Problem]] = []

    def add(self, line: int, what: str, hint: str | None = None) -> None:
        """Note one mistake; the same one on the same line is noted once."""
        problem = Problem(f"{self._where}:{line}", what, hint)
        if (line, problem) not in self._found:
            self._found.append((line, problem))

    def end(self) -> None:
        """Finish reading.

        Raises:
            LabelError: something was found; holds all of it in the file's order.
        """
        if self._found:
            raise self.error()

    def error(self) -> LabelError:
        """The error that holds what was found."""
        ordered = sorted(self._found, key=lambda pair: pair[0])
        return LabelError([problem for _, problem in ordered], where=self._where)
