"""Which stretch of the base a segment may copy from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from repack.delta.patch_format import (
    FOOTER,
    MAGIC,
    RAW_REACH,
    RAW_SEGMENT,
    REACH,
    SEGMENT,
    Part,
    Patch,
    Recipe,
    Segment,
    counterpart,
    parse_index,
    plan,
)
from repack.errors import IntegrityError

MB = 1 << 20


def nowhere(_piece):
    return None


def test_small_payloads_see_all_of_the_base():
    (only,) = plan(10 * MB, 45 * MB, nowhere, raw=False)
    assert (only.size, only.start, only.reach) == (10 * MB, 0, 45 * MB)
    assert plan(0, 90 * MB, nowhere, raw=False) == ()


def test_large_payloads_follow_their_files():
    members = [("small", (512, 100)), ("a", (1024, 100 * MB)), ("b", (101 * MB, 400 * MB))]
    base = {"a": (900 * MB, 100 * MB), "b": (10 * MB, 400 * MB)}
    found = plan(501 * MB, 1000 * MB, lambda p: counterpart(p, members, base), raw=False)
    assert sum(segment.size for segment in found) == 501 * MB
    first, last = found[0], found[-1]
    assert first.start <= 900 * MB <= first.start + first.reach
    here = 10 * MB + (501 * MB - last.size) - 101 * MB
    assert last.start <= here <= last.start + last.reach


@given(
    st.integers(0, 2000 * MB),
    st.integers(0, 2000 * MB),
    st.lists(st.tuples(st.sampled_from("abc"), st.tuples(*[st.integers(0, 2000 * MB)] * 2))),
    st.dictionaries(st.sampled_from("abc"), st.tuples(*[st.integers(0, 2000 * MB)] * 2)),
    st.booleans(),
)
def test_segments_cover_the_stream_and_stay_inside_the_base(
    length, base_length, members, base, raw
):
    found = plan(length, base_length, lambda p: counterpart(p, members, base), raw=raw)
    assert sum(segment.size for segment in found) == length
    for segment in found:
        assert 0 < segment.size <= (RAW_SEGMENT if raw else SEGMENT)
        assert segment.start >= 0
        assert segment.reach <= (RAW_REACH if raw else REACH)
        assert segment.start + segment.reach <= base_length


def test_index_comes_back():
    (segment,) = plan(100, 50, nowhere, raw=False)
    whole = Patch((Part(7), Part(60, Recipe("zstd", 19, 0, sized=False), (segment,)), Part(3)))
    footer = whole.footer()
    assert footer.endswith(MAGIC)
    assert parse_index(footer[:-FOOTER], "here") == whole
    assert whole.size == 70
    assert whole.parts[1].unpacked == 100
    assert not whole.raw


def test_index_of_a_raw_patch_comes_back():
    whole = Patch((Part(70, None, (Segment(30, 0, 20, 5), Segment(40, 10, 20, 6))),))
    assert parse_index(whole.footer()[:-FOOTER], "here") == whole
    assert whole.raw
    assert (whole.size, whole.parts[0].held) == (70, 11)


CUT = Recipe("zstd", 9, 8 << 20, cuts=(10, 20))


def test_recipe_with_cuts_comes_back():
    whole = Patch((Part(60, CUT, (Segment(100, 0, 0, 5),)),))
    assert parse_index(whole.footer()[:-FOOTER], "here") == whole


@pytest.mark.parametrize("cuts", [(0,), (5, 5), (9, 3), (-1,), (True,), ("1",), (1.5,)])
def test_cuts_that_lie(cuts):
    lie = Patch((Part(60, replace(CUT, cuts=cuts), (Segment(100, 0, 0, 5),)),))
    with pytest.raises(IntegrityError):
        parse_index(lie.footer()[:-FOOTER], "here")


def test_only_zstd_has_jobs_to_end():
    lie = Patch((Part(60, Recipe("bz2", 9, cuts=(5,)), (Segment(100, 0, 0, 5),)),))
    with pytest.raises(IntegrityError):
        parse_index(lie.footer()[:-FOOTER], "here")


def test_one_patch_has_one_kind_of_base():
    segment = Segment(30, 0, 20, 5)
    lie = Patch((Part(30, None, (segment,)), Part(30, Recipe("zstd", 3), (segment,))))
    with pytest.raises(IntegrityError, match="two kinds"):
        parse_index(lie.footer()[:-FOOTER], "here")


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"[]",
        b"{}",
        b'{"parts": 1}',
        b'{"parts": [1]}',
        b'{"parts": [{}]}',
        b'{"parts": {}, ',
        b'{"parts": [{"size": 1, "recipe": {"kind": []}, "segments": []}]}',
    ],
)
def test_malformed_index(index):
    with pytest.raises(IntegrityError):
        parse_index(index, "here")
