"""Reads a YAML or JSON file that a person wrote into a tree whose nodes know their lines.

Rules of this module: a scalar keeps its spelling, so ``2.30`` stays ``2.30`` and an error can say
"quote it"; nothing is constructed, so a tag runs no code; an alias is the same node, never a copy,
so no file expands to something larger than itself.

Formats: YAML 1.2 (read by ruamel.yaml) and JSON (RFC 8259), both in UTF-8.
"""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Final

from repack.codec.tree import MAX_DEPTH, Items, Kind, Node, ProblemList, Scalar, Table, TableEntry

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node as YamlNode

_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TAG: Final = "tag:yaml.org,2002:"
# A string of JSON, with the colon if it is a key, or one of the three words that Python's reader
# accepts although JSON has none of them.
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"(?P<colon>\s*:)?|(?P<constant>NaN|-?Infinity)')
_SIMPLE_KEY: Final = 1000  # characters; YAML 1.2.2, 7.4.2 allows 1024 on one line
_HINTS: Final = {
    "escape character": "in double quotes a backslash must be doubled; take single quotes instead",  # by words of ruamel's messages; the first that occurs counts
    r"'\t'": "indent with spaces, not with tabs",
    "mapping values are not allowed": "quote a text that holds ': ', and check the indentation",
    "cannot start any token": "quote a text that starts with a special character",
    "alias": "quote a text that starts with '*'",
    "single document": "one file holds one label; remove the '---'",
    "another document": "one file holds one label; remove the '---'",
}
_NOT_ASCII: Final = re.compile(r"[^\n -~]")
_KINDS: Final[dict[str, Kind]] = {
    "str": "text",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "null": "null",
    "timestamp": "date",
}


def parse_document(data: bytes, where: str, limit: int) -> Node:
    """Read a file; JSON when ``where`` ends in ``.json``, else YAML.

    Raises:
        LabelError: it is too large, not UTF-8, empty, nested too deeply or no YAML or JSON.
    """
    problems = ProblemList(where)
    text = decode_text(data, problems, limit)
    if not text.strip():
        problems.add(1, "the file is empty")
        raise problems.error()
    if where.endswith(".json"):
        text = _json_as_yaml(text, problems)
    return _parse_yaml(text, problems)


def decode_text(data: bytes, problems: ProblemList, limit: int) -> str:
    """The text of a file in UTF-8, with or without byte order mark.

    Raises:
        LabelError: it is too large, in another encoding, or holds control characters.
    """
    if len(data) > limit:
        problems.add(1, f"the file has {len(data)} bytes; at most {limit} are read")
        raise problems.error()
    if data.startswith(_UTF16):
        problems.add(1, "the file is UTF-16", "save it as UTF-8")
        raise problems.error()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.add(line, f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        raise problems.error() from None
    if match := _CONTROL.search(text):
        line = text.count("\n", 0, match.start()) + 1
        problems.add(line, f"control character U+{ord(match.group()):04X} in the file")
        raise problems.error()
    return text


def _json_as_yaml(text: str, problems: ProblemList) -> str:
    """Check that ``text`` is JSON, and spell it so that YAML reads the same values on each line.

    YAML 1.2 contains JSON, but not all of its characters: tabs and carriage returns between tokens,
    U+2028 and its like inside strings. Once the text is known to be JSON, the former cannot stand
    in a string and all that is not ASCII can stand nowhere else, so both are simple to replace.
    Keys that are long, or on another line than their colon, need YAML's ``?`` in front.
    """
    try:
        # Numbers stay text: Python refuses to convert those of more than 4,300 digits.
        json.loads(text, parse_int=str, parse_float=str)
        for match in _JSON_TOKEN.finditer(text):
            if match["constant"]:
                raise json.JSONDecodeError("Expecting value", text, match.start())  # noqa: TRY301 - one handler
    except json.JSONDecodeError as error:
        problems.add(error.lineno, f"not JSON: {error.msg}, column {error.colno}")
    except RecursionError:
        problems.add(1, "nested too deeply")
    else:
        text = text.replace("\t", " ").replace("\r", " ")
        text = _NOT_ASCII.sub(lambda match: f"\\U{ord(match[0]):08x}", text)
        return _JSON_TOKEN.sub(_mark_key, text)
    raise problems.error()


def _mark_key(match: re.Match[str]) -> str:
    is_simple = len(match[0]) <= _SIMPLE_KEY and "\n" not in (match["colon"] or "")
    return match[0] if is_simple or not match["colon"] else f"? {match[0]}"


def _parse_yaml(text: str, problems: ProblemList) -> Node:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor used twice is no harm
            root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.add((mark.line if mark else 0) + 1, *_yaml_fault(error.problem or error.context))
    except RecursionError:
        problems.add(1, "nested too deeply")
    except (YAMLError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # ruamel lets some of its own slips through on garbage, such as chr() of a huge escape.
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position if isinstance(position, int) else 0) + 1
        problems.add(line, f"not YAML: {getattr(error, 'reason', None) or error}"[:200])
    else:
        if root is not None:
            return _Converter(problems).convert(root)
        problems.add(1, "the file is empty")
    raise problems.error()


def _yaml_fault(problem: str | None) -> tuple[str, str | None]:
    """The message for what ruamel reports, and a hint where one is known."""
    text = " ".join((problem or "syntax error").split())
    return f"not YAML: {text}"[:200], next(
        (_HINTS[words] for words in _HINTS if words in text), None
    )


class _Converter:
    """Turns ruamel's nodes into ours; shared nodes stay shared."""

    def __init__(self, problems: ProblemList) -> None:
        self._problems = problems
        self._done: dict[int, Node] = {}

    def convert(self, node: YamlNode, depth: int = 0) -> Node:
        line = node.start_mark.line + 1
        if depth > MAX_DEPTH:
            self._problems.add(line, "nested too deeply")
            raise self._problems.error()
        if id(node) not in self._done:
            self._done[id(node)] = self._convert(node, line, depth)
        return self._done[id(node)]

    def _convert(self, node: YamlNode, line: int, depth: int) -> Node:
        from ruamel.yaml.nodes import ScalarNode, SequenceNode

        tag, is_scalar = str(node.tag or "").removeprefix(_TAG), isinstance(node, ScalarNode)
        if tag not in (_KINDS if is_scalar else {"map", "seq"}):
            self._problems.add(line, f"tag {str(node.tag)[:60]!r} means nothing here")
            raise self._problems.error()
        if is_scalar:
            return Scalar(line, self._text(str(node.value), line), _KINDS[tag])
        if isinstance(node, SequenceNode):
            return Items(line, tuple(self.convert(child, depth + 1) for child in node.value))
        return Table(line, tuple(self._entry(key, value, depth) for key, value in node.value))

    def _entry(self, key: YamlNode, value: YamlNode, depth: int) -> TableEntry:
        line = key.start_mark.line + 1
        if not isinstance(key.value, str):
            self._problems.add(line, "a key must be one word")
            raise self._problems.error()
        child = self.convert(value, depth + 1)
        if isinstance(child, Scalar) and child.kind == "null" and not child.text:
            # ruamel puts an empty value where the next token begins, often a line further down.
            child = Scalar(line, "", "null")
        return TableEntry(self._text(key.value, line), line, child)

    def _text(self, text: str, line: int) -> str:
        """``text`` with surrogate pairs, as JSON escapes them, joined."""
        if not any("\ud800" <= char <= "\udfff" for char in text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._problems.add(line, "half a surrogate pair in a text")
            raise self._problems.error() from None
