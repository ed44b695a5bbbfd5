"""The tree of a hand-written file, and the list of its mistakes.

A scalar keeps its spelling; every node knows its line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from repack.errors import LabelError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["text", "int", "float", "bool", "null", "date"]
MAX_DEPTH: Final = 60


class Scalar(Struct, frozen=True):
    """One value, as spelt; ``kind`` is its type in YAML or JSON."""

    line: int
    text: str
    kind: Kind


class Items(Struct, frozen=True):
    """A list."""

    line: int
    values: tuple[Node, ...]


class TableEntry(Struct, frozen=True):
    """A key and its value; the line is the key's."""

    key: str
    line: int
    value: Node


class Table(Struct, frozen=True):
    """A mapping in the file's order. A key may stand twice; the schema checker reports it."""

    line: int
    entries: tuple[TableEntry, ...]

    def get(self, key: str) -> Node | None:
        """The value of ``key``, or None when it is not there."""
        return next((entry.value for entry in self.entries if entry.key == key), None)


Node = Scalar | Items | Table


def tree_of(value: object) -> Node:
    """The tree of a value that was never in a file: texts, numbers, None, lists and mappings."""
    if isinstance(value, dict):
        return Table(0, tuple(TableEntry(str(k), 0, tree_of(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return Items(0, tuple(map(tree_of, value)))
    if value is None:
        return Scalar(0, "null", "null")
    return Scalar(0, str(value), "int" if isinstance(value, int) else "text")


class ProblemList:
    """Collects the mistakes of one file, to be reported together.

    Args:
        where: the file, for the messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._problems: list[tuple[int, Problem]] = []

    def add(self, line: int, what: str, hint: str | None = None) -> None:
        """Add a mistake; an equal one on the same line is added once. Line 0 is no line."""
        problem = Problem(self.place(line), what, hint)
        if (line, problem) not in self._problems:
            self._problems.append((line, problem))

    def place(self, line: int) -> str:
        """File and line, for messages."""
        return f"{self._where}:{line}" if line else self._where

    def end(self) -> None:
        """Finish reading.

        Raises:
            LabelError: there are mistakes; holds all of them in the file's order.
        """
        if self._problems:
            raise self.error()

    def error(self) -> LabelError:
        """The error that holds all mistakes."""
        ordered = sorted(self._problems, key=lambda pair: pair[0])
        return LabelError([problem for _, problem in ordered], where=self._where)


class Line(Struct, frozen=True):
    """A text and its line."""

    text: str
    line: int


class View:
    """Typed access to a :class:`Table`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.line = table.line

    def text(self, key: str) -> Line | None:
        """A text or date, as spelt."""
        node = self._table.get(key)
        if isinstance(node, Scalar) and node.kind in {"text", "date"}:
            return Line(node.text, node.line)
        return None

    def word(self, key: str, default: str) -> str:
        """A text without its line."""
        line = self.text(key)
        return line.text if line else default

    def flag(self, key: str, *, default: bool) -> bool:
        """A switch."""
        node = self._table.get(key)
        if isinstance(node, Scalar) and node.kind == "bool":
            return node.text.lower() == "true"
        return default

    def number(self, key: str) -> int | None:
        """A whole number."""
        node = self._table.get(key)
        if isinstance(node, Scalar) and node.kind == "int":
            try:
                return int(node.text)
            except ValueError:
                return None
        return None

    def lines(self, key: str) -> tuple[Line, ...]:
        """The texts of a list."""
        return tuple(
            Line(node.text, node.line)
            for node in self._values(key)
            if isinstance(node, Scalar) and node.kind == "text"
        )

    def words(self, key: str) -> tuple[str, ...]:
        """The texts of a list without their lines."""
        return tuple(line.text for line in self.lines(key))

    def view(self, key: str) -> View:
        """The table under ``key``; an empty one if there is none."""
        node = self._table.get(key)
        return View(node) if isinstance(node, Table) else View(Table(self.line, ()))

    def views(self, key: str) -> tuple[View, ...]:
        """The tables of a list."""
        return tuple(View(node) for node in self._values(key) if isinstance(node, Table))

    def entries(self) -> Iterator[tuple[str, int, Node]]:
        """Keys, their lines and values, in the file's order."""
        return ((entry.key, entry.line, entry.value) for entry in self._table.entries)

    def is_table(self, key: str) -> bool:
        """Whether ``key`` holds a table."""
        return isinstance(self._table.get(key), Table)

    def has(self, key: str) -> bool:
        """Whether ``key`` is there with any value."""
        node = self._table.get(key)
        return node is not None and not (isinstance(node, Scalar) and node.kind == "null")

    def numbers(self) -> dict[str, int]:
        """All whole numbers of this table by key."""
        numbers = {key: self.number(key) for key, _, _ in self.entries()}
        return {key: number for key, number in numbers.items() if number is not None}

    def _values(self, key: str) -> tuple[Node, ...]:
        node = self._table.get(key)
        return node.values if isinstance(node, Items) else ()
