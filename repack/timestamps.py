"""Dates in files and on command lines: UTC, to the second."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from repack.errors import UsageError

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

Edge = Literal["start", "end"]


def stamp(moment: datetime) -> str:
    """``moment`` as manifests, TUF metadata and reports write it: ``2026-11-20T12:00:00Z``."""
    return moment.astimezone(UTC).strftime(_TIME)


def parse_date(text: str, edge: Edge, where: object = None) -> datetime:
    """Read a day, which counts from its ``start`` or to its ``end``, or a moment.

    Raises:
        UsageError: neither ``YYYY-MM-DD`` nor an ISO 8601 time.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if _DAY.fullmatch(text) and edge == "end":
            moment += timedelta(days=1, seconds=-1)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            "not a date", where=where, expected="YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ", got=text[:40]
        ) from error


def read_time(text: object) -> datetime | None:
    """The time that :func:`stamp` wrote; None when ``text`` is nothing of the kind."""
    try:
        return datetime.strptime(str(text), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
