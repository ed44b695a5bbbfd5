"""Which stretch of the base a segment may copy from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.errors import IntegrityError
from repack.model.patch import FOOTER, MAGIC, REACH, SEGMENT, Part, Patch, Recipe, parse, plan

MB = 1 << 20


def test_small_payloads_see_all_of_the_base():
    (only,) = plan(10 * MB, 45 * MB, [], {})
    assert (only.size, only.start, only.reach) == (10 * MB, 0, 45 * MB)
    assert plan(0, 90 * MB, [], {}) == ()


def test_large_payloads_follow_their_files():
    members = [("small", (512, 100)), ("a", (1024, 100 * MB)), ("b", (101 * MB, 400 * MB))]
    base = {"a": (900 * MB, 100 * MB), "b": (10 * MB, 400 * MB)}
    found = plan(501 * MB, 1000 * MB, members, base)
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
)
def test_segments_cover_the_stream_and_stay_inside_the_base(length, base_length, members, base):
    found = plan(length, base_length, members, base)
    assert sum(segment.size for segment in found) == length
    for segment in found:
        assert 0 < segment.size <= SEGMENT
        assert segment.start >= 0
        assert segment.reach <= REACH
        assert segment.start + segment.reach <= base_length


def test_index_comes_back():
    (segment,) = plan(100, 50, [], {})
    whole = Patch((Part(7), Part(60, Recipe("zstd", 19, 0, sized=False), (segment,)), Part(3)))
    footer = whole.footer()
    assert footer.endswith(MAGIC)
    assert parse(footer[:-FOOTER], "here") == whole
    assert whole.size == 70
    assert whole.parts[1].unpacked == 100


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
        parse(index, "here")
