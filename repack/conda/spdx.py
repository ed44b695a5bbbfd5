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
# The parser's time grows with what it is given, and licences come from strangers.
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
    """Read a licence and judge it by ``policy``.

    ``deny`` holds identifiers, in any case and spelling that SPDX ever had, and patterns such as
    ``AGPL-*``.
    """
    parsed, licensing = _parse(text)
    if parsed is None:
        named = text.strip().lower()
        denied = any(fnmatchcase(named, one.lower()) for one in policy.deny)
        return Licence(text, "denied" if denied else "unknown")
    known = not [
        key
        for key in licensing.unknown_license_keys(parsed)
        if not key.lower().startswith("licenseref-")
    ]
    names = tuple(sorted(licensing.license_keys(parsed)))
    deny = tuple(_spelling(one).lower() for one in policy.deny)
    if not _usable(parsed, deny, licensing):
        return Licence(str(parsed), "denied", known, names)
    return Licence(str(parsed) if known else text, "allowed" if known else "unknown", known, names)


def load_licences() -> None:
    """Load what :func:`judge_licence` needs."""
    _spellings()


def unknown_identifiers(policy: LicencePolicy) -> tuple[str, ...]:
    """Those of ``policy.deny`` that are neither SPDX identifiers nor patterns: typing mistakes."""
    return tuple(
        one
        for one in policy.deny
        if not {"*", "?", "["} & set(one) and not judge_licence(one, LicencePolicy()).is_spdx
    )


def _parse(text: str) -> tuple[Any, Any]:
    """The expression and the licences that reading it took; None when it is none."""
    from license_expression import ExpressionError

    if not text.strip() or len(text) > _LONGEST:
        return None, None
    licensing = _licensing(frozenset(_spellings().keys() & _WORD.findall(text.lower())))
    try:
        return licensing.parse(text), licensing
    except (ExpressionError, RecursionError):
        return None, None


@cache
def _licensing(words: frozenset[str]) -> Any:
    """A reader that knows the licences of which a spelling begins with one of ``words``.

    To know all 2,400 takes it 40 ms, and what does not stand in a text is not found there.
    """
    from license_expression import build_spdx_licensing

    rows = {row["spdx_license_key"]: row for word in words for row in _spellings()[word]}
    return build_spdx_licensing(list(rows.values()))


@cache
def _spellings() -> dict[str, list[dict[str, Any]]]:
    """What SPDX knows of each licence, by the first words of all its spellings."""
    from license_expression import get_license_index

    rows: dict[str, list[dict[str, Any]]] = {}
    for row in get_license_index():
        if key := row.get("spdx_license_key"):
            for spelling in (key, *row.get("other_spdx_license_keys", ())):
                rows.setdefault(spelling.lower().partition(" ")[0], []).append(row)
    return rows


def _spelling(identifier: str) -> str:
    parsed, _ = _parse(identifier)
    return identifier if parsed is None else str(parsed)


def _usable(node: Any, deny: tuple[str, ...], licensing: Any) -> bool:
    """Whether some choice of licences has none that is denied."""
    if isinstance(node, licensing.OR):
        return any(_usable(one, deny, licensing) for one in node.args)
    if isinstance(node, licensing.AND):
        return all(_usable(one, deny, licensing) for one in node.args)
    names = {str(node).lower()}
    bare = getattr(node, "license_symbol", None)
    if bare is not None:
        names.add(str(bare.key).lower())
    return not any(fnmatchcase(name, one) for name in names for one in deny)


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
