"""The chart over releases: one bar a release, what is new in it laid over the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.report.document import PastRelease


TREEMAP_WIDTH: Final = 1000
TREEMAP_HEIGHT: Final = 420
# Below this share of the whole a tile cannot be hit with a mouse.
_SMALLEST: Final = 1 / 4000


STEP: Final = 56
HEIGHT: Final = 120


class Bar(Struct, frozen=True):
    """One release; heights grow from the bottom of the chart."""

    past: PastRelease
    x: int
    height: float
    new_height: float


def bars(releases: Sequence[PastRelease]) -> tuple[Bar, ...]:
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


class Tile(Struct, frozen=True):
    """One rectangle, and the place of its value among the given ones; None for all small ones."""

    index: int | None
    x: float
    y: float
    width: float
    height: float


def layout(sizes: Sequence[int]) -> tuple[Tile, ...]:
    """Tiles for ``sizes``, largest first; those too small to be seen share the last."""
    from squarify import normalize_sizes, squarify

    total = sum(sizes)
    order = sorted(range(len(sizes)), key=lambda index: (-sizes[index], index))
    large: list[int | None] = [i for i in order if sizes[i] > total * _SMALLEST]
    small = sum(sizes[i] for i in order if sizes[i] <= total * _SMALLEST)
    values = [float(sizes[i]) for i in large if i is not None]
    if small:
        # One visible tile even where all that is in it is next to nothing.
        values.append(max(float(small), total * _SMALLEST))
        large.append(None)
    if not values:
        return ()
    placed = sorted(zip(values, large, strict=True), key=lambda pair: -pair[0])
    boxes = squarify(
        normalize_sizes([value for value, _ in placed], TREEMAP_WIDTH, TREEMAP_HEIGHT),
        0,
        0,
        TREEMAP_WIDTH,
        TREEMAP_HEIGHT,
    )
    return tuple(
        Tile(index, *(round(box[key], 1) for key in ("x", "y", "dx", "dy")))
        for (_, index), box in zip(placed, boxes, strict=True)
    )
