"""Ranges, severities and entries, as the OSV schema and CVSS have them."""

from __future__ import annotations

import json

import pytest

from repack.advisories.osv import Hit, hit_by, parse_entry
from repack.advisories.severity import base_score
from repack.errors import IntegrityError
from tests.advisories.databases import CRITICAL, entry


def advisory(*events, **fields):
    (made,) = parse_entry(
        json.dumps(entry("Foo_Bar", "PYSEC-1", *events, **fields)).encode(), "x"
    ).advisories
    return made


@pytest.mark.parametrize(
    ("events", "version", "hit"),
    [
        ([{"introduced": "0"}, {"fixed": "2.0"}], "1.9", Hit("2.0")),
        ([{"introduced": "0"}, {"fixed": "2.0"}], "2.0", None),
        ([{"introduced": "0"}, {"fixed": "2.0"}], "2.0rc1", Hit("2.0")),
        ([{"introduced": "0"}, {"fixed": "2.0"}], "2.0.post1", None),
        ([{"introduced": "0"}, {"fixed": "2.0"}], "1!0.1", None),
        ([{"introduced": "1.5"}, {"fixed": "2.0"}], "1.4", None),
        ([{"introduced": "0"}, {"last_affected": "2.0"}], "2.0", Hit()),
        ([{"introduced": "0"}, {"last_affected": "2.0"}], "2.0.1", None),
        ([{"introduced": "0"}], "99", Hit()),
        ([{"fixed": "2.0"}, {"introduced": "0"}], "1.0", Hit("2.0")),  # events in any order
        ([{"introduced": "0"}, {"fixed": "1"}, {"introduced": "2"}, {"fixed": "3"}], "1.5", None),
        ([{"introduced": "0"}, {"fixed": "1"}, {"introduced": "2"}, {"fixed": "3"}], "2.5", Hit("3")),
        ([{"introduced": "1"}, {"fixed": "2"}, {"introduced": "2"}, {"fixed": "3"}], "2", Hit("3")),
        ([{"introduced": "0"}, {"fixed": "neither"}], "1.0", Hit()),  # cannot be compared
    ],
)  # fmt: skip
def test_ranges(events, version, hit):
    assert hit_by(advisory(*events), version) == hit


def test_versions_one_by_one():
    affected = [
        {"package": {"ecosystem": "PyPI", "name": "x"}, "versions": ["1.0", "odd-one", "1.2"]}
    ]
    made = advisory(affected=affected)
    assert hit_by(made, "1.0.0") == Hit()
    assert hit_by(made, "1.1") is None
    with pytest.raises(ValueError, match="odd"):
        hit_by(made, "odd")


def test_commits_alone_cannot_be_compared():
    affected = {"package": {"ecosystem": "PyPI", "name": "x"}}
    ranges = [{"type": "GIT", "repo": "https://x", "events": [{"introduced": "0"}]}]
    assert hit_by(advisory(affected=[{**affected, "ranges": ranges}]), "1.0") == Hit()


def test_names_severities_and_what_is_withdrawn():
    made = advisory({"introduced": "0"}, aliases=["CVE-2026-1", "bad alias\n"])
    assert (made.name, made.aliases, made.severity) == ("foo-bar", ("CVE-2026-1",), "unknown")
    word = advisory({"introduced": "0"}, database_specific={"severity": "MODERATE"})
    assert word.severity == "medium"
    vector = advisory({"introduced": "0"}, severity=[{"type": "CVSS_V3", "score": CRITICAL}])
    assert vector.severity == "critical"
    odd = advisory({"introduced": "0"}, database_specific={"severity": "BANANAS"})
    assert odd.severity == "unknown"
    withdrawn = entry("x", "PYSEC-1", {"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z")
    assert parse_entry(json.dumps(withdrawn).encode(), "x").advisories == ()


# Vectors and scores of the examples that FIRST publishes with the specification.
@pytest.mark.parametrize(
    ("vector", "score"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1),
        ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 7.8),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        (CRITICAL, 9.8),
    ],
)
def test_base_scores(vector, score):
    assert base_score(vector) == score


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b'{"id": "x"}', b'{"id": 1, "modified": "x"}', b"\xff", b"[" * 9999,
        json.dumps(entry("x", "CVE 1\n", {"introduced": "0"})).encode(),
        json.dumps({**entry("x", "A-1"), "affected": {"no": "list"}}).encode(),
        json.dumps(entry("x", "A-1", severity=[{"type": "CVSS_V3", "score": "grave"}])).encode(),
        json.dumps(entry("x", "A-1", severity=[{"type": "CVSS_V4", "score": CRITICAL}])).encode(),
    ],
)  # fmt: skip
def test_what_is_no_entry(data):
    with pytest.raises(IntegrityError) as caught:
        parse_entry(data, "osv.zip: A-1.json")
    assert "osv.zip: A-1.json" in caught.value.text()
