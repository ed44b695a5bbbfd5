"""A file a person wrote, as a tree that knows its lines.

Rules of this module: a scalar keeps the spelling it has in the file, so ``2.30`` stays ``2.30``
and whoever wants text can say "quote it"; nothing is constructed, so a tag runs no code; an alias
is the same node, never a copy, so no file unfolds into something larger than itself.

Formats: YAML 1.2 (read by ruamel.yaml) and JSON (RFC 8259), both in UTF-8.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Final

from repack.codec.tree import MAX_DEPTH, Items, Kind, Node, ProblemList, Scalar, Table, TableEntry

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node as YamlNode

_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TAG: Final = "tag:yaml.org,2002:"
_KINDS: Final[dict[str, Kind]] = {
    "str": "text",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "null": "null",
    "timestamp": "date",
}


def parse(data: bytes, where: str, limit: int) -> Node:
    """Read a file; JSON when ``where`` ends in ``.json``, else YAML.

    Raises:
        LabelError: it is too large, not UTF-8, empty, nested too deeply or no YAML or JSON.
    """
    findings = ProblemList(where)
    text = decode(data, findings, limit)
    if not text.strip():
        findings.add(1, "the file is empty")
        raise findings.error()
    if where.endswith(".json"):
        from repack.codec.document_json import parse_json

        return parse_json(text, findings)
    return _parse_yaml(text, findings)


def decode(data: bytes, findings: ProblemList, limit: int) -> str:
    """The text of a file in UTF-8, with or without byte order mark.

    Raises:
        LabelError: it is too large, in another encoding, or holds control characters.
    """
    if len(data) > limit:
        findings.add(1, f"the file has {len(data)} bytes; at most {limit} are read")
        raise findings.error()
    if data.startswith(_UTF16):
        findings.add(1, "the file is UTF-16", "save it as UTF-8")
        raise findings.error()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        findings.add(line, f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        raise findings.error() from None
    if match := _CONTROL.search(text):
        line = text.count("\n", 0, match.start()) + 1
        findings.add(line, f"control character U+{ord(match.group()):04X} in the file")
        raise findings.error()
    return text


def _parse_yaml(text: str, findings: ProblemList) -> Node:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor used twice is no harm
            root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        findings.add((mark.line if mark else 0) + 1, *_yaml_fault(error.problem or error.context))
    except RecursionError:
        findings.add(1, "nested too deeply")
    except (YAMLError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # ruamel lets some of its own slips through on garbage, such as chr() of a huge escape.
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position if isinstance(position, int) else 0) + 1
        findings.add(line, f"not YAML: {getattr(error, 'reason', None) or error}"[:200])
    else:
        if root is not None:
            return _Converter(findings).convert(root)
        findings.add(1, "the file is empty")
    raise findings.error()


def _yaml_fault(problem: str | None) -> tuple[str, str | None]:
    text = " ".join((problem or "syntax error").split())
    hint = None
    if r"'\t'" in text:
        hint = "indent with spaces, not with tabs"
    elif "mapping values are not allowed" in text:
        hint = "quote a text that holds ': ', and check the indentation"
    elif "cannot start any token" in text:
        hint = "quote a text that starts with a special character"
    elif "alias" in text:
        hint = "quote a text that starts with '*'"
    elif "single document" in text or "another document" in text:
        hint = "one file holds one label; remove the '---'"
    return f"not YAML: {text}"[:200], hint


class _Converter:
    """Turns ruamel's nodes into ours; shared nodes stay shared."""

    def __init__(self, findings: ProblemList) -> None:
        self._findings = findings
        self._done: dict[int, Node] = {}

    def convert(self, node: YamlNode, depth: int = 0) -> Node:
        line = node.start_mark.line + 1
        if depth > MAX_DEPTH:
            self._findings.add(line, "nested too deeply")
            raise self._findings.error()
        known = self._done.get(id(node))
        if known is None:
            known = self._done[id(node)] = self._convert(node, line, depth)
        return known

    def _convert(self, node: YamlNode, line: int, depth: int) -> Node:
        from ruamel.yaml.nodes import ScalarNode, SequenceNode

        tag = str(node.tag or "").removeprefix(_TAG)
        if isinstance(node, ScalarNode):
            if tag not in _KINDS:
                self._findings.add(line, f"tag {str(node.tag)[:60]!r} means nothing here")
                raise self._findings.error()
            return Scalar(line, self._text(str(node.value), line), _KINDS[tag])
        if tag not in {"map", "seq"}:
            self._findings.add(line, f"tag {str(node.tag)[:60]!r} means nothing here")
            raise self._findings.error()
        if isinstance(node, SequenceNode):
            return Items(line, tuple(self.convert(child, depth + 1) for child in node.value))
        return Table(line, tuple(self._entry(key, value, depth) for key, value in node.value))

    def _entry(self, key: YamlNode, value: YamlNode, depth: int) -> TableEntry:
        line = key.start_mark.line + 1
        if not isinstance(key.value, str):
            self._findings.add(line, "a key must be one word")
            raise self._findings.error()
        known = self.convert(value, depth + 1)
        if isinstance(known, Scalar) and known.kind == "null" and not known.text:
            # An empty value begins where the next thing stands, often a line further down.
            known = Scalar(line, "", "null")
        return TableEntry(self._text(key.value, line), line, known)

    def _text(self, text: str, line: int) -> str:
        """``text`` with surrogate pairs, as JSON escapes them, joined."""
        if not any("\ud800" <= char <= "\udfff" for char in text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._findings.add(line, "half a surrogate pair in a text")
            raise self._findings.error() from None
