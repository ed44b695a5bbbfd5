"""Reading and writing repodata."""

from __future__ import annotations

import json

import pytest

from repack.conda.repodata import read_rows, repodata_bytes, section_of
from repack.errors import IntegrityError
from tests.archives import Package

RECORD = Package().record(b"")


def test_what_is_written_reads_back():
    document = json.loads(repodata_bytes("linux-64", [RECORD]))
    assert document == {
        "info": {"subdir": "linux-64"},
        "packages": {},
        "packages.conda": {RECORD.fn: RECORD.raw},
        "removed": [],
        "repodata_version": 1,
    }
    assert read_rows(document, "repodata.json") == {RECORD.fn: RECORD.raw}


def test_rows_of_both_sections_come_together():
    document = {"packages.conda": {"b.conda": {"size": 2}}, "packages": {"a.tar.bz2": {}}}
    assert list(read_rows(document, "x").items()) == [("a.tar.bz2", {}), ("b.conda", {"size": 2})]
    assert read_rows({}, "x") == {}


@pytest.mark.parametrize(
    "document",
    [None, [], "text", {"packages": []}, {"packages.conda": None}, {"packages": {"a": 1}}],
)
def test_what_is_no_repodata_is_refused(document):
    with pytest.raises(IntegrityError) as caught:
        read_rows(document, "x.json")
    assert caught.value.where == "x.json"


def test_sections_follow_the_suffix():
    assert section_of("a-1-0.conda") == "packages.conda"
    assert section_of("a-1-0.tar.bz2") == "packages"
