"""A treemap: areas by size, laid out by squarify (Bruls, Huizing, van Wijk: "Squarified Treemaps")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH: Final = 1000
HEIGHT: Final = 420
# Below this share of the whole a tile cannot be hit with a mouse.
_SMALLEST: Final = 1 / 4000


@dataclass(frozen=True, slots=True)
class Tile:
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
        normalize_sizes([value for value, _ in placed], WIDTH, HEIGHT), 0, 0, WIDTH, HEIGHT
    )
    return tuple(
        Tile(index, *(round(box[key], 1) for key in ("x", "y", "dx", "dy")))
        for (_, index), box in zip(placed, boxes, strict=True)
    )
