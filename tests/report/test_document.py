"""The report's data: what is shown of foreign texts, and reading back what was written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.display import shown
from repack.errors import IntegrityError
from repack.report.document import Report
from tests.reports import package, report


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("a\r\nb\tc", "a b c"),
        ("pay\u202eexe.txt", "pay exe.txt"),
        ("\u2066x\u2069\u200f", "x"),
        ("\ud800x", "x"),
        (None, ""),
        (["MIT"], ""),
        (5, ""),
        ("x" * 30, "x" * 19 + "…"),
    ],
)
def test_foreign_texts_are_short_lines_without_tricks(value, text):
    assert shown(value, 20) == text


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_shown_texts_are_printable_and_bounded(text, limit):
    found = shown(text, limit)
    assert len(found) <= limit
    assert found.isprintable()


def test_what_is_written_can_be_read():
    told = report(package("a", depends=("linux-64/b-1.0-0.conda",)), package("b"))
    assert Report.parse(told.to_bytes(), "here") == told


def test_fields_of_a_later_repack_are_ignored():
    document = json.loads(report(package("a")).to_bytes())
    document["news"] = 1
    document["packages"][0]["mood"] = "good"
    assert Report.parse(json.dumps(document).encode(), "here") == report(package("a"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": "repack-report-9"}',
        b'{"format": "repack-report-1"}',
        b"\xff",
    ],
)
def test_what_is_no_report_is_refused(data):
    with pytest.raises(IntegrityError):
        Report.parse(data, "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", "x"), ("size", True), ("licence_is_spdx", 1), ("kind", "own"), ("why", {"a": "b"})],
)
def test_a_field_of_another_type_is_refused(field, value):
    document = json.loads(report(package("a")).to_bytes())
    document["packages"][0][field] = value
    with pytest.raises(IntegrityError, match=field):
        Report.parse(json.dumps(document).encode(), "here")


def test_a_key_that_stands_twice_is_refused():
    data = report(package("a")).to_bytes().replace(b'"release": 2', b'"release": 1, "release": 2')
    with pytest.raises(IntegrityError, match="twice"):
        Report.parse(data, "here")
