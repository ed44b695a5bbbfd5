from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from repack.archive.facts import FACTS_VERSION, About, Facts, Script, check_archive
from repack.errors import IntegrityError
from tests.archives import Package

FACTS = Facts(
    depth="whole",
    index={"name": "thing", "version": "1.0", "build": "0", "subdir": "linux-64"},
    about=About(licence="MIT", home="https://example.org"),
    files=3,
    unpacked=None,
    longest_path="lib/ä",
    longest_linked="lib/ä",
    scripts=(Script("bin/.thing-post-link.sh", "post-link", ("https://example.org/x",)),),
    noarch="python",
    has_link_json=True,
    case_twins=(("A", "a"),),
    windows_faults=("a:b",),
    unlisted=("extra",),
    sha384="ab",
)
RECORD = Package().record(b"")


def test_facts_survive_the_cache():
    assert Facts.of_json(json.loads(json.dumps(FACTS.to_json()))) == FACTS


@pytest.mark.parametrize(
    "spoilt",
    [
        None,
        [],
        "text",
        {},
        {"version": FACTS_VERSION},
        FACTS.to_json() | {"version": FACTS_VERSION + 1},
        FACTS.to_json() | {"depth": "half"},
        FACTS.to_json() | {"about": None},
        FACTS.to_json() | {"about": {"licence": "MIT", "extra": 1}},
        FACTS.to_json() | {"scripts": [{}]},
        FACTS.to_json() | {"case_twins": ["abc"]},
        FACTS.to_json() | {"new": 1},
    ],
)
def test_a_spoilt_cache_is_no_facts(spoilt):
    assert Facts.of_json(spoilt) is None


def test_depth_covers():
    assert FACTS.covers("info")
    assert FACTS.covers("whole")
    assert replace(FACTS, depth="info").covers("info")
    assert not replace(FACTS, depth="info").covers("whole")


def test_judge_passes_what_fits():
    check_archive(FACTS, RECORD)
    check_archive(replace(FACTS, index={"name": "thing", "version": "1.0", "build": "0"}), RECORD)


@pytest.mark.parametrize("field", ["name", "version", "build", "subdir"])
@pytest.mark.parametrize("value", ["other", 1, None])
def test_judge_refuses_another_package(field, value):
    if (field, value) == ("subdir", None):
        return
    facts = replace(FACTS, index={**FACTS.index, field: value})
    with pytest.raises(IntegrityError, match="not the package") as caught:
        check_archive(facts, RECORD)
    assert caught.value.where == "linux-64/thing-1.0-0.conda"
    assert f"{field} {value}" in caught.value.got


def test_judge_refuses_twins_only_for_windows():
    record = Package(subdir="win-64").record(b"")
    facts = replace(FACTS, index={**FACTS.index, "subdir": "win-64"})
    with pytest.raises(IntegrityError, match="only one"):
        check_archive(facts, record)
    check_archive(replace(facts, case_twins=()), record)
