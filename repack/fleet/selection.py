"""Which labels a run is about."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from repack.codec.schema import suggest
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PATTERN_CHARACTERS = frozenset("*?[")


def select_labels(
    available: Sequence[str], patterns: Iterable[str], excluded: Iterable[str] = ()
) -> tuple[str, ...]:
    """The labels that any of ``patterns`` names and none of ``excluded`` does, in their order.

    Args:
        available: all labels that have a file.
        patterns: names, or shell patterns such as ``bank-*``; none: all labels.
        excluded: likewise.

    Raises:
        UsageError: a name or pattern fits no label.
    """
    chosen = tuple(patterns)
    for pattern in (*chosen, *(text for text in excluded if not is_pattern(text))):
        if not any(fnmatchcase(name, pattern) for name in available):
            what = "no label fits" if is_pattern(pattern) else "unknown label"
            hint = suggest(pattern, available) or f"labels here: {', '.join(available[:20])}"
            raise UsageError(f"{what} {pattern!r}", hint=hint if available else None)
    left_out = tuple(excluded)
    return tuple(
        name
        for name in available
        if (not chosen or any(fnmatchcase(name, pattern) for pattern in chosen))
        and not any(fnmatchcase(name, pattern) for pattern in left_out)
    )


def is_pattern(text: str) -> bool:
    """Whether a name is a shell pattern."""
    return not _PATTERN_CHARACTERS.isdisjoint(text)
