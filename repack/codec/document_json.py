"""JSON as a tree that knows its lines; the standard library's reader keeps no positions.

Format: RFC 8259, with the strictness of ``json``: no comments, no trailing commas.
"""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder
from typing import TYPE_CHECKING, Final

from repack.codec.tree import MAX_DEPTH, Items, Scalar, Table, TableEntry

if TYPE_CHECKING:
    from repack.codec.tree import Kind, Node, ProblemList

_DECODER: Final = JSONDecoder()
_SPACES: Final = frozenset(" \t\r\n")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS: Final[dict[str, Kind]] = {"true": "bool", "false": "bool", "null": "null"}


def parse_json(text: str, findings: ProblemList) -> Node:
    """Read one JSON value.

    Raises:
        LabelError: it is not JSON, or nested too deeply.
    """
    reader = _Reader(text)
    try:
        node = reader.value(0)
        reader.end()
    except JSONDecodeError as error:
        findings.add(error.lineno, f"not JSON: {error.msg}, column {error.colno}")
        raise findings.error() from None
    return node


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        # Lines are counted from the last place that was asked for, so that it stays linear.
        self._line = 1
        self._counted = 0

    def value(self, depth: int) -> Node:
        self._skip()
        if depth > MAX_DEPTH:
            raise self._fault("nested too deeply")
        line = self._here()
        match self._text[self._at : self._at + 1]:
            case "{":
                return Table(line, tuple(self._entries(depth)))
            case "[":
                return Items(line, tuple(self._values(depth)))
            case '"':
                return Scalar(line, self._string(), "text")
            case _:
                return self._plain(line)

    def end(self) -> None:
        self._skip()
        if self._at < len(self._text):
            raise self._fault("more text after the end")

    def _plain(self, line: int) -> Scalar:
        for word, kind in _WORDS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return Scalar(line, word, kind)
        match = _NUMBER.match(self._text, self._at)
        if not match:
            raise self._fault("a value is expected")
        self._at = match.end()
        return Scalar(line, match.group(), "float" if match[1] or match[2] else "int")

    def _values(self, depth: int) -> list[Node]:
        values: list[Node] = []
        while self._more("]", first=not values):
            values.append(self.value(depth + 1))
        return values

    def _entries(self, depth: int) -> list[TableEntry]:
        entries: list[TableEntry] = []
        while self._more("}", first=not entries):
            self._skip()
            line = self._here()
            if not self._text.startswith('"', self._at):
                raise self._fault("a key in double quotes is expected")
            key = self._string()
            self._skip()
            if not self._text.startswith(":", self._at):
                raise self._fault("':' is expected")
            self._at += 1
            entries.append(TableEntry(key, line, self.value(depth + 1)))
        return entries

    def _more(self, close: str, *, first: bool) -> bool:
        """Step over the opening bracket or the comma; False, and over it, at ``close``."""
        if first:
            self._at += 1
        self._skip()
        if self._text.startswith(close, self._at):
            self._at += 1
            return False
        if not first:
            if not self._text.startswith(",", self._at):
                raise self._fault(f"',' or '{close}' is expected")
            self._at += 1
        return True

    def _string(self) -> str:
        decoded, self._at = _DECODER.raw_decode(self._text, self._at)
        string = str(decoded)
        if any("\ud800" <= char <= "\udfff" for char in string):
            raise self._fault("half a surrogate pair in a text")
        return string

    def _skip(self) -> None:
        while self._text[self._at : self._at + 1] in _SPACES:
            self._at += 1

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _fault(self, what: str) -> JSONDecodeError:
        return JSONDecodeError(what, self._text, self._at)
