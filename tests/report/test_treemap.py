"""The treemap: areas are true, nothing overlaps, nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.report.charts import TREEMAP_HEIGHT, TREEMAP_WIDTH, layout


@given(st.lists(st.integers(min_value=1, max_value=10**10), min_size=1, max_size=40))
def test_tiles_fill_the_area_by_size(sizes):
    tiles = layout(sizes)
    area, total = TREEMAP_WIDTH * TREEMAP_HEIGHT, sum(sizes)
    assert sum(tile.width * tile.height for tile in tiles) == pytest.approx(area, rel=0.02)
    shown = {tile.index for tile in tiles} - {None}
    assert all(sizes[i] <= total / 4000 for i in set(range(len(sizes))) - shown)
    for tile in tiles:
        assert 0 <= tile.x <= TREEMAP_WIDTH
        assert tile.x + tile.width <= TREEMAP_WIDTH + 0.2
        assert tile.y + tile.height <= TREEMAP_HEIGHT + 0.2


def test_large_tiles_have_their_share():
    tiles = layout([300, 100])
    assert tiles[0].width * tiles[0].height == pytest.approx(
        0.75 * TREEMAP_WIDTH * TREEMAP_HEIGHT, rel=0.01
    )


def test_nothing_to_show():
    assert layout([]) == layout([0, 0]) == ()
