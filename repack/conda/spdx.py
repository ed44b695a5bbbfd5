"""Licences of packages, and whether a label's policy allows them.

A package is denied when nobody could use it without a denied licence: ``MIT OR GPL-3.0-only`` is
allowed where ``GPL-3.0-only`` is denied, ``MIT AND GPL-3.0-only`` is not. An exception (``WITH``)
does not lift a ban on the licence it belongs to. Unknown is what is missing or no SPDX expression;
``LicenseRef-…`` is one.

Source: SPDX 2.3, annex D, "SPDX license expressions"; identifiers and their old spellings as
license-expression knows them.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Any, Final, Literal

from msgspec import Struct

Verdict = Literal["allowed", "denied", "unknown"]
# Licences are untrusted texts, and the parser's time grows with their length.
_LONGEST: Final = 500
_WORD: Final = re.compile(r"[^\s()]+")


class Licence(Struct, frozen=True):
    """The licence of one package.

    Attributes:
        text: as the package says it; in SPDX's own spelling where it is an expression; empty when
            the package says nothing.
        is_spdx: whether it is an SPDX expression.
        identifiers: the licences it names.
    """

    text: str
    verdict: Verdict
    is_spdx: bool = False
    identifiers: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def judge_licence(text: str, policy: LicencePolicy) -> Licence:
    """Parse a licence and judge it by ``policy``.

    ``deny`` holds identifiers, in any case and in any spelling that SPDX has or had, and patterns
    such as ``AGPL-*``.
    """
    parsed, licensing = _parse(text)
    if parsed is None:
        lowered = text.strip().lower()
        denied = any(fnmatchcase(lowered, pattern.lower()) for pattern in policy.deny)
        return Licence(text, "denied" if denied else "unknown")
    is_spdx = not [
        key
        for key in licensing.unknown_license_keys(parsed)
        if not key.lower().startswith("licenseref-")
    ]
    names = tuple(sorted(licensing.license_keys(parsed)))
    deny = tuple(_current_spelling(pattern).lower() for pattern in policy.deny)
    if not _is_usable(parsed, deny, licensing):
        return Licence(str(parsed), "denied", is_spdx, names)
    if not is_spdx:
        return Licence(text, "unknown", is_spdx, names)
    return Licence(str(parsed), "allowed", is_spdx, names)


def unknown_identifiers(policy: LicencePolicy) -> tuple[str, ...]:
    """Those of ``policy.deny`` that are neither SPDX identifiers nor patterns: typing mistakes."""
    return tuple(
        text
        for text in policy.deny
        if not {"*", "?", "["} & set(text) and not judge_licence(text, LicencePolicy()).is_spdx
    )


def _parse(text: str) -> tuple[Any, Any]:
    """The expression in ``text`` and the parser that read it; None when it is no expression."""
    from license_expression import ExpressionError

    if not text.strip() or len(text) > _LONGEST:
        return None, None
    licensing = _licensing(frozenset(load_licences().keys() & _WORD.findall(text.lower())))
    try:
        return licensing.parse(text), licensing
    except (ExpressionError, RecursionError):
        return None, None


@cache
def _licensing(words: frozenset[str]) -> Any:
    """A parser that knows the licences of which a spelling begins with one of ``words``.

    One that knows all 2,400 takes 40 ms to make; a text names a few.
    """
    from license_expression import build_spdx_licensing

    rows = {row["spdx_license_key"]: row for word in words for row in load_licences()[word]}
    return build_spdx_licensing(list(rows.values()))


@cache
def load_licences() -> dict[str, list[dict[str, Any]]]:
    """The rows of license-expression's index, by the first word of each spelling, lower-case."""
    from license_expression import get_license_index

    rows: dict[str, list[dict[str, Any]]] = {}
    for row in get_license_index():
        if key := row.get("spdx_license_key"):
            for spelling in (key, *row.get("other_spdx_license_keys", ())):
                rows.setdefault(spelling.lower().partition(" ")[0], []).append(row)
    return rows


def _current_spelling(identifier: str) -> str:
    parsed, _ = _parse(identifier)
    return identifier if parsed is None else str(parsed)


def _is_usable(node: Any, deny: tuple[str, ...], licensing: Any) -> bool:
    """Whether some choice among the alternatives of ``node`` contains no denied licence."""
    if isinstance(node, licensing.OR):
        return any(_is_usable(part, deny, licensing) for part in node.args)
    if isinstance(node, licensing.AND):
        return all(_is_usable(part, deny, licensing) for part in node.args)
    names = {str(node).lower()}
    without_exception = getattr(node, "license_symbol", None)
    if without_exception is not None:
        names.add(str(without_exception.key).lower())
    return not any(fnmatchcase(name, pattern) for name in names for pattern in deny)


class LicencePolicy(Struct, frozen=True):
    """Which licences of packages are allowed, as SPDX identifiers."""

    deny: tuple[str, ...] = ()
    unknown: Literal["warn", "deny"] = "warn"

    def in_words(self, *, strict: bool = False) -> tuple[str, ...]:
        """The policy as a report says it; empty when every licence is taken.

        Args:
            strict: the label is strict, so that unknown licences are denied too.
        """
        denied = (f"denied: {', '.join(self.deny)}",) if self.deny else ()
        closed = self.unknown == "deny" or strict
        return (*denied, "denied: missing and unknown licences") if closed else denied
