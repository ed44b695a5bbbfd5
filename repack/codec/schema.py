"""Checks a tree against a JSON schema and reports each mistake with its line.

Only the keywords that :mod:`repack.label.schema` uses are implemented. Four are repack's own:
``form`` describes the texts that fit a ``pattern``, ``others`` is the hint for an unknown key,
``sample`` is the hint for an empty value or one of another type, ``is_command`` says that a text in
place of a list is split as a shell would. Validator libraries know no lines,
and importing one takes a large part of the time of a build in which nothing changed.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

from repack.codec.tree import Items, Scalar, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.codec.tree import Node, ProblemList

Schema = dict[str, Any]

_NAMES: Final = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_TYPE_OF: Final = {"text": "string", "int": "integer", "bool": "boolean", "null": "null"}
# What YAML takes as a text without quotes, wherever it stands.
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*(:/[A-Za-z0-9._/-]*)?")
_LOOKS_BOOL: Final = frozenset({"yes", "no", "on", "off", "true", "false"})


def check_schema(node: Node, schema: Schema, problems: ProblemList, name: str = "") -> None:
    """Report everything in ``node`` that ``schema`` does not allow.

    Args:
        node: the tree.
        schema: the JSON schema.
        problems: receives the mistakes.
        name: the key path, as in ``bundles.models``; empty at the top.
    """
    if not _fits_type(node, schema, problems, name):
        return
    if isinstance(node, Table):
        _check_table(node, schema, problems, name)
    elif isinstance(node, Items):
        if len(node.values) < schema.get("minItems", 0):
            problems.add(node.line, f"'{name}' is empty")
        for value in node.values:
            check_schema(value, schema["items"], problems, name)
    else:
        _check_scalar(node, schema, problems, name)


def _fits_type(node: Node, schema: Schema, problems: ProblemList, name: str) -> bool:
    allowed: list[str] = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if _type_of(node, schema) in allowed:
        return True
    # Where texts are allowed, null and false are rare special values: the message leaves them out.
    special = {"null", "boolean"} if "string" in allowed else set()
    expected = " or ".join(_NAMES[kind] for kind in allowed if kind not in special)
    where = f"'{name}' must be {expected}" if name else "the file must be a mapping of keys"
    problems.add(node.line, f"{where}, not {_describe(node)}", _hint(node, schema, allowed))
    return False


def _type_of(node: Node, schema: Schema) -> str:
    if isinstance(node, Table):
        return "object"
    if isinstance(node, Items):
        return "array"
    if node.kind == "date" and schema.get("format") == "date":
        return "string"
    return _TYPE_OF.get(node.kind, node.kind)


def _describe(node: Node) -> str:
    if isinstance(node, Table):
        return "a mapping"
    if isinstance(node, Items):
        return "a list"
    if node.kind == "null":
        return "nothing"
    names = {"int": "the number", "float": "the number", "bool": "the switch", "date": "the date"}
    return f"{names.get(node.kind, 'the text')} {node.text[:60]!r}"


def _hint(node: Node, schema: Schema, allowed: list[str]) -> str | None:
    if not isinstance(node, Scalar) or "sample" in schema:
        return schema.get("sample")
    text = node.text[:60]
    rules = (
        ("string" in allowed and node.kind != "null", f'quote it: "{text}"'),
        (
            "array" in allowed and node.kind == "text",
            f"write a list: {_as_list(node.text, schema)}",
        ),
        ("boolean" in allowed and text.lower() in _LOOKS_BOOL, "true or false, without quotes"),
        ("integer" in allowed and text.strip("-").isdigit(), "without quotes"),
    )
    return next((hint for applies, hint in rules if applies), None)


def _as_list(text: str, schema: Schema) -> str:
    """``text`` as the list that was meant; a command is split as a shell would."""
    words = [text]
    if schema.get("is_command"):
        with contextlib.suppress(ValueError):
            words = shlex.split(text)
    return f"[{', '.join(map(_item, words))}]"[:200]


def _item(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else json.dumps(word, ensure_ascii=False)


def _check_scalar(node: Scalar, schema: Schema, problems: ProblemList, name: str) -> None:
    if node.kind in {"text", "date"}:
        if "enum" in schema and node.text not in schema["enum"]:
            words = ", ".join(word for word in schema["enum"] if isinstance(word, str))
            near = suggest(node.text, schema["enum"])
            problems.add(
                node.line, f"'{name}' must be one of {words}, not {node.text[:60]!r}", near
            )
        elif "pattern" in schema and not re.search(schema["pattern"], node.text):
            form = schema.get("form", schema["pattern"])
            problems.add(node.line, f"'{name}' must be {form}, not {node.text[:80]!r}")
    elif node.kind == "int":
        number = _number(node.text)
        low, high = schema.get("minimum"), schema.get("maximum")
        if number is None:
            problems.add(node.line, f"'{name}' must be a decimal number, not {node.text[:60]!r}")
        elif (low is not None and number < low) or (high is not None and number > high):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            problems.add(node.line, f"'{name}' must be {bounds}, not {node.text[:60]}")


def _number(text: str) -> int | None:
    # `0x10` and `1_000` are numbers in YAML too, but readers of a label would be misled.
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None


def _check_table(node: Table, schema: Schema, problems: ProblemList, name: str) -> None:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    additional = schema.get("additionalProperties", False)
    required = schema.get("required", ())
    if len(node.entries) < schema.get("minProperties", 0):
        problems.add(node.line, f"'{name}' is empty", schema.get("sample"))
    line_by_key: dict[str, int] = {}
    for entry in node.entries:
        path = f"{name}.{entry.key}" if name else entry.key
        if entry.key in line_by_key:
            problems.add(
                entry.line, f"'{path}' stands here twice", f"first on line {line_by_key[entry.key]}"
            )
            continue
        line_by_key[entry.key] = entry.line
        inner = properties.get(entry.key) or (additional if isinstance(additional, dict) else None)
        if inner is None:
            _report_unknown(entry.key, entry.line, schema, problems, name)
        elif _is_left_out(entry.value, inner):
            if entry.key in required:
                problems.add(entry.line, f"'{path}' is empty")
        else:
            form = schema.get("propertyNames")
            if entry.key not in properties and form and not re.search(form["pattern"], entry.key):
                problems.add(entry.line, f"'{path[:80]}' must be {form['form']}")
            check_schema(entry.value, inner, problems, path)
    for key in required:
        if key not in line_by_key:
            problems.add(node.line, f"'{name + '.' if name else ''}{key}' is missing")


def _is_left_out(node: Node, schema: Schema) -> bool:
    """Whether a key has no value, which counts as if the key were missing."""
    empty = isinstance(node, Scalar) and node.kind == "null"
    return empty and "null" not in schema["type"]


def _report_unknown(key: str, line: int, schema: Schema, problems: ProblemList, name: str) -> None:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    inside = f" in '{name}'" if name else ""
    near = schema.get("others") or suggest(key, properties)
    if near is None and key == "<<":
        near = "merge keys are not read; write the keys out"
    if near is None and properties:
        near = "known here: " + ", ".join(properties)
    problems.add(line, f"unknown key {key[:60]!r}{inside}", near)


def suggest(word: str, candidates: Iterable[str]) -> str | None:
    """``did you mean 'channels'?``, or None when no candidate is similar."""
    import difflib

    lower = word.lower().replace("-", "_")
    near = difflib.get_close_matches(lower, [str(candidate) for candidate in candidates], n=1)
    return f"did you mean '{near[0]}'?" if near else None
