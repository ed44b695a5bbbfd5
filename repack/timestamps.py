"""Dates in files and on command lines: UTC, to the second."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from repack.errors import UsageError

if TYPE_CHECKING:
    import datetime as dt

from typing import TYPE_CHECKING

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

Edge = Literal["start", "end"]


def stamp(moment: datetime) -> str:
    """``2026-11-20T12:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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


def moment(now: dt.datetime) -> str:
    """A moment as manifests write it."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def show(time: datetime) -> str:
    """A time as it stands in metadata."""
    return time.astimezone(UTC).strftime(_TIME)


def read_time(text: object) -> datetime | None:
    """A time as metadata writes it; None when ``text`` is none."""
    try:
        return datetime.strptime(str(text), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
