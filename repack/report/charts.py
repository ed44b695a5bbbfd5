"""The chart over releases: one bar a release, what is new in it laid over the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.report.document import Past

STEP: Final = 56
HEIGHT: Final = 120


@dataclass(frozen=True, slots=True)
class Bar:
    """One release; heights grow from the bottom of the chart."""

    past: Past
    x: int
    height: float
    new_height: float


def bars(releases: Sequence[Past]) -> tuple[Bar, ...]:
    """The bars, oldest release first."""
    tallest = max((row.bytes for row in releases), default=0) or 1
    return tuple(
        Bar(
            row,
            index * STEP,
            round(HEIGHT * row.bytes / tallest, 1),
            round(HEIGHT * min(row.new_bytes, row.bytes) / tallest, 1),
        )
        for index, row in enumerate(releases)
    )
