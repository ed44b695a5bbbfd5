"""Which of two versions is older, by conda's own order."""

from __future__ import annotations


def older(one: str, other: str) -> bool:
    """Whether version ``one`` comes before ``other``; False where one of them is no version."""
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    try:
        return bool(Version(one) < Version(other))
    except (InvalidVersionError, ValueError, TypeError):
        return False
