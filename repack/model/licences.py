"""Licences of packages, and whether a label's policy allows them.

A package is denied when nobody could use it without a denied licence: ``MIT OR GPL-3.0-only`` is
allowed where ``GPL-3.0-only`` is denied, ``MIT AND GPL-3.0-only`` is not. An exception (``WITH``)
does not lift a ban on the licence it belongs to. Unknown is what is missing or no SPDX expression;
``LicenseRef-…`` is one.

Source: SPDX 2.3, annex D, "SPDX license expressions"; identifiers and their old spellings as
license-expression knows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final, Literal

from repack.model.label import LicencePolicy

Verdict = Literal["allowed", "denied", "unknown"]
# The parser's time grows with what it is given, and licences come from strangers.
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True)
class Licence:
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


def judge_licence(text: str, policy: LicencePolicy) -> Licence:
    """Read a licence and judge it by ``policy``.

    ``deny`` holds identifiers, in any case and spelling that SPDX ever had, and patterns such as
    ``AGPL-*``.
    """
    parsed = _parse(text)
    if parsed is None:
        named = text.strip().lower()
        denied = any(fnmatchcase(named, one.lower()) for one in policy.deny)
        return Licence(text, "denied" if denied else "unknown")
    known = not [
        key
        for key in _licensing().unknown_license_keys(parsed)
        if not key.lower().startswith("licenseref-")
    ]
    names = tuple(sorted(_licensing().license_keys(parsed)))
    deny = tuple(_spelling(one).lower() for one in policy.deny)
    if not _usable(parsed, deny):
        return Licence(str(parsed), "denied", known, names)
    return Licence(str(parsed) if known else text, "allowed" if known else "unknown", known, names)


def odd_identifiers(policy: LicencePolicy) -> tuple[str, ...]:
    """Those of ``policy.deny`` that are neither SPDX identifiers nor patterns: typing mistakes."""
    return tuple(
        one
        for one in policy.deny
        if not {"*", "?", "["} & set(one) and not judge_licence(one, LicencePolicy()).is_spdx
    )


@cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def _parse(text: str) -> Any:
    """The expression, or None when it is none."""
    from license_expression import ExpressionError

    if not text.strip() or len(text) > _LONGEST:
        return None
    try:
        return _licensing().parse(text)
    except (ExpressionError, RecursionError):
        return None


def _spelling(identifier: str) -> str:
    parsed = _parse(identifier)
    return identifier if parsed is None else str(parsed)


def _usable(node: Any, deny: tuple[str, ...]) -> bool:
    """Whether some choice of licences has none that is denied."""
    licensing = _licensing()
    if isinstance(node, licensing.OR):
        return any(_usable(one, deny) for one in node.args)
    if isinstance(node, licensing.AND):
        return all(_usable(one, deny) for one in node.args)
    names = {str(node).lower()}
    bare = getattr(node, "license_symbol", None)
    if bare is not None:
        names.add(str(bare.key).lower())
    return not any(fnmatchcase(name, one) for name in names for one in deny)
