from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.codec.canonical import MAX_DEPTH, canonical, encode_rows, loads
from repack.errors import IntegrityError

LIMIT = 1 << 20
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(VALUES)
def test_what_is_written_is_read_back(value):
    assert loads(canonical(value), "x", LIMIT) == value


@given(st.dictionaries(TEXT, VALUES))
def test_rows_say_the_same(document):
    assert json.loads(encode_rows(document)) == document


def test_every_item_of_a_list_has_a_line():
    text = encode_rows({"label": "hälk", "files": [{"path": "a"}, {"path": "b"}], "none": ()})
    assert text.decode().splitlines() == [
        "{",
        ' "label": "hälk",',
        ' "files": [',
        '  {"path": "a"},',
        '  {"path": "b"}',
        " ],",
        ' "none": []',
        "}",
    ]


@given(st.dictionaries(TEXT, st.integers()))
def test_order_of_keys_does_not_matter(value):
    assert canonical(value) == canonical(dict(reversed(value.items())))


def test_form_of_the_signed_bytes():
    assert (
        canonical({"b": [1, 2], "a": "ü\n", "ä": None})
        == '{"a":"ü\\n","b":[1,2],"ä":null}'.encode()
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", {1: 2, "a": 3}, object()])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(IntegrityError):
        canonical([value])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"b":2,"a":3}}',
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        b'"\xff"',
        b"{} {}",
        b"'a'",
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'["]' + b"[" * 100_000,
    ],
    ids=range(17),
)
def test_bad_json_is_refused(data):
    with pytest.raises(IntegrityError) as caught:
        loads(data, "some.json", LIMIT)
    assert caught.value.where == "some.json"
    assert len(caught.value.text()) < 500


def test_size_is_bounded_before_anything_is_parsed():
    with pytest.raises(IntegrityError, match="too large"):
        loads(b" " * 101, "x", 100)


def test_brackets_in_strings_are_not_depth():
    assert loads(json.dumps(["[" * 1000, '\\"[[' * 50]).encode(), "x", LIMIT)


def test_depth_up_to_the_bound_is_read():
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "x", LIMIT)
    with pytest.raises(IntegrityError, match="deeply"):
        loads(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "x", LIMIT)


@given(st.binary() | st.text(alphabet='[]{}",:\\u0d8N1e+-', max_size=60).map(str.encode))
def test_any_bytes_end_in_a_value_or_our_error(data):
    try:
        value = loads(data, "x", LIMIT)
    except IntegrityError:
        return
    assert loads(canonical(value), "x", LIMIT) == value
