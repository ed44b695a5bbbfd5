"""JSON that is signed or untrusted: one way to write it, one strict way to read it.

A signed value needs one byte form, and signed bytes need one meaning: where two readers see
different values in the same bytes, a signature can be bypassed. So duplicate keys, NaN, infinities,
lone surrogates and a byte order mark are refused, and size and depth are bounded.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final, NoReturn, TypeGuard

from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping


MAX_SIZE: Final = 1 << 62
MAX_DEPTH: Final = 64
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def canonical(value: object) -> bytes:
    """Encode ``value`` for signing: keys sorted, no white space, UTF-8, no NaN.

    Raises:
        IntegrityError: ``value`` has no JSON form.
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise IntegrityError("cannot be written as canonical JSON", got=str(error)) from error


def loads(data: bytes, where: object, limit: int) -> object:
    """Read JSON of at most ``limit`` bytes, strictly.

    Args:
        data: the bytes, UTF-8 without a byte order mark.
        where: the file, for the error message.
        limit: the largest size, in bytes.

    Raises:
        IntegrityError: too large, too deep, not UTF-8, not JSON, NaN or infinity, a key twice.
    """
    if len(data) > limit:
        raise IntegrityError(
            "JSON is too large", where=where, expected=f"at most {limit} bytes", got=len(data)
        )
    if _depth(data) > MAX_DEPTH:
        raise IntegrityError("JSON is nested too deeply", where=where, expected=MAX_DEPTH)
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique_pairs,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
        if b"\\u" in data:
            # "\ud800" alone is JSON but no text: it cannot be encoded.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        # Of a reason that quotes the file, the start will do.
        raise IntegrityError("not strict JSON", where=where, got=str(error)[:200]) from error
    return value


def _depth(data: bytes) -> int:
    """How deep arrays and objects are nested; 0 where the count of brackets rules out too deep."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def unique_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make a dict for :func:`json.loads`'s ``object_pairs_hook``.

    Raises:
        ValueError: a key stands twice; two readers would not see the same.
    """
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise ValueError(f"key {double[:80]!r} stands twice")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"number {text[:40]} is too large")
    return number


def encode_rows(document: Mapping[str, object]) -> bytes:
    """Encode an object with a line for each field and for each item of a list, for ``diff``.

    ``json`` indents in Python, which takes six times as long.
    """
    rows = (_encode_field(name, value) for name, value in document.items())
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode("utf-8")


def _encode_field(name: str, value: object) -> str:
    start = f" {json.dumps(name, ensure_ascii=False)}: "
    if not isinstance(value, list | tuple) or not value:
        return start + json.dumps(value, ensure_ascii=False)
    items = (f"  {json.dumps(item, ensure_ascii=False)}" for item in value)
    return f"{start}[\n" + ",\n".join(items) + "\n ]"


def is_size(value: object) -> TypeGuard[int]:
    """Whether ``value`` is a whole number of bytes; ``True``, an int in Python, is none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE
