"""Checks a tree against a JSON schema and says where, and in plain words, it does not fit.

Only the keywords that :mod:`repack.label.schema` uses are known. Three are ours: ``form``
says in words what a text with a ``pattern`` should look like, ``others`` what to do about a key
that is not known, ``sample`` what to write instead of nothing or of another type. A validator library has no lines, and costs more time to import than a build in which
nothing changed can spare.
"""

from __future__ import annotations

import re
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
_LOOKS_BOOL: Final = frozenset({"yes", "no", "on", "off", "true", "false"})


def check_schema(node: Node, schema: Schema, findings: ProblemList, name: str = "") -> None:
    """Note everything in ``node`` that ``schema`` does not allow.

    Args:
        node: the tree.
        schema: what it should be.
        findings: takes the mistakes.
        name: the key path, as in ``bundles.models``; empty at the top.
    """
    if not _fits_type(node, schema, findings, name):
        return
    if isinstance(node, Table):
        _check_table(node, schema, findings, name)
    elif isinstance(node, Items):
        if len(node.values) < schema.get("minItems", 0):
            findings.add(node.line, f"'{name}' is empty")
        for value in node.values:
            check_schema(value, schema["items"], findings, name)
    else:
        _check_scalar(node, schema, findings, name)


def _fits_type(node: Node, schema: Schema, findings: ProblemList, name: str) -> bool:
    allowed: list[str] = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    found = _type_of(node, schema)
    if found in allowed:
        return True
    # Where a text is the rule, null and false are the exceptions that the docs name.
    named = [one for one in allowed if "string" not in allowed or one not in {"null", "boolean"}]
    expected = " or ".join(_NAMES[one] for one in named)
    where = f"'{name}' must be {expected}" if name else "the file must be a mapping of keys"
    findings.add(node.line, f"{where}, not {_describe(node)}", _hint(node, schema, allowed))
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
        ("array" in allowed and node.kind == "text", f"write a list: [{text}]"),
        ("boolean" in allowed and text.lower() in _LOOKS_BOOL, "true or false, without quotes"),
        ("integer" in allowed and text.strip("-").isdigit(), "without quotes"),
    )
    return next((hint for applies, hint in rules if applies), None)


def _check_scalar(node: Scalar, schema: Schema, findings: ProblemList, name: str) -> None:
    if node.kind in {"text", "date"}:
        if "enum" in schema and node.text not in schema["enum"]:
            words = ", ".join(word for word in schema["enum"] if isinstance(word, str))
            near = suggest(node.text, schema["enum"])
            findings.add(
                node.line, f"'{name}' must be one of {words}, not {node.text[:60]!r}", near
            )
        elif "pattern" in schema and not re.search(schema["pattern"], node.text):
            form = schema.get("form", schema["pattern"])
            findings.add(node.line, f"'{name}' must be {form}, not {node.text[:80]!r}")
    elif node.kind == "int":
        number = _number(node.text)
        low, high = schema.get("minimum"), schema.get("maximum")
        if number is None:
            findings.add(node.line, f"'{name}' must be a decimal number, not {node.text[:60]!r}")
        elif (low is not None and number < low) or (high is not None and number > high):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            findings.add(node.line, f"'{name}' must be {bounds}, not {node.text[:60]}")


def _number(text: str) -> int | None:
    # `0x10` and `1_000` are numbers to YAML too; here they would only be riddles.
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None


def _check_table(node: Table, schema: Schema, findings: ProblemList, name: str) -> None:
    known: Mapping[str, Schema] = schema.get("properties", {})
    other = schema.get("additionalProperties", False)
    required = schema.get("required", ())
    if len(node.entries) < schema.get("minProperties", 0):
        findings.add(node.line, f"'{name}' is empty", schema.get("sample"))
    seen: dict[str, int] = {}
    for entry in node.entries:
        path = f"{name}.{entry.key}" if name else entry.key
        if entry.key in seen:
            findings.add(
                entry.line, f"'{path}' stands here twice", f"first on line {seen[entry.key]}"
            )
            continue
        seen[entry.key] = entry.line
        inner = known.get(entry.key) or (other if isinstance(other, dict) else None)
        if inner is None:
            _unknown(entry.key, entry.line, schema, findings, name)
        elif _is_left_out(entry.value, inner):
            if entry.key in required:
                findings.add(entry.line, f"'{path}' is empty")
        else:
            form = schema.get("propertyNames")
            if entry.key not in known and form and not re.search(form["pattern"], entry.key):
                findings.add(entry.line, f"'{path[:80]}' must be {form['form']}")
            check_schema(entry.value, inner, findings, path)
    for key in required:
        if key not in seen:
            findings.add(node.line, f"'{name + '.' if name else ''}{key}' is missing")


def _is_left_out(node: Node, schema: Schema) -> bool:
    """Whether a key has no value: the same as if the key were not there."""
    empty = isinstance(node, Scalar) and node.kind == "null"
    return empty and "null" not in schema["type"]


def _unknown(key: str, line: int, schema: Schema, findings: ProblemList, name: str) -> None:
    known: Mapping[str, Schema] = schema.get("properties", {})
    inside = f" in '{name}'" if name else ""
    near = schema.get("others") or suggest(key, known)
    if near is None and key == "<<":
        near = "merge keys are not read; write the keys out"
    if near is None and known:
        near = "known here: " + ", ".join(known)
    findings.add(line, f"unknown key {key[:60]!r}{inside}", near)


def suggest(word: str, known: Iterable[str]) -> str | None:
    """``did you mean 'channels'?``, or None when nothing is near."""
    import difflib

    lower = word.lower().replace("-", "_")
    near = difflib.get_close_matches(lower, [str(one) for one in known], n=1)
    return f"did you mean '{near[0]}'?" if near else None
