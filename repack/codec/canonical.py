"""JSON that is signed or comes from strangers: one way to write it, one strict way to read it.

What is signed must have one byte form, and what is read must have one meaning: two readers that
see different values in the same bytes are how signatures get bypassed. So duplicate keys, NaN,
infinities, lone surrogates and a byte order mark are refused, and size and depth are bounded.
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
    """The bytes that are signed: keys sorted, no white space, UTF-8, no NaN.

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
        limit: the largest size that is looked at.

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
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        if b"\\u" in data:
            # "\ud800" alone is JSON but no text: it could never be written back
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise IntegrityError("not strict JSON", where=where, got=_reason(error)) from error
    return value


def _depth(data: bytes) -> int:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _reason(error: Exception) -> str:
    """The decoder's complaint; only its start, for a long file must not flood a terminal."""
    return str(error)[:200]


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [key for key, _ in pairs]
        double = next(key for place, key in enumerate(names) if key in names[:place])
        raise ValueError(f"key {double[:80]!r} stands twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"number {text[:40]} is too large")
    return number


def encode_rows(document: Mapping[str, object]) -> bytes:
    """JSON for people and their ``diff``: a line for each field and for each item of a list.

    ``json`` indents in Python, which takes six times as long.
    """
    return ("{\n" + ",\n".join(map(_field, document.items())) + "\n}\n").encode("utf-8")


def _field(pair: tuple[str, object]) -> str:
    name, value = pair
    start = f" {json.dumps(name, ensure_ascii=False)}: "
    if not isinstance(value, list | tuple) or not value:
        return start + json.dumps(value, ensure_ascii=False)
    items = (f"  {json.dumps(item, ensure_ascii=False)}" for item in value)
    return f"{start}[\n" + ",\n".join(items) + "\n ]"


def is_size(value: object) -> TypeGuard[int]:
    """Whether ``value`` is a whole number of bytes; ``True`` is an int in Python, but no size."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE
