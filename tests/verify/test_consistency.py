"""Folders that contradict themselves."""

from __future__ import annotations

import json

import pytest

from repack.channel.manifest import Artifact
from repack.file_entry import UNKNOWN_SIZE, FileEntry
from repack.fs.inventory import Inventory
from repack.names import Digest, RelPath
from repack.verify.consistency import (
    Finding,
    Subdir,
    check_subdir,
    compare_artifacts,
    compare_release,
)

ONE, TWO = "1" * 64, "2" * 64
RECORD = {"name": "a", "sha256": ONE, "size": 3}


def repodata(subdir="noarch", **sections):
    return json.dumps({"info": {"subdir": subdir}, **sections}).encode()


def findings(data, archives=None, **variants):
    found = {"repodata.json": data, "repodata.json.zst": data, **variants}
    return [(one.kind, one.path) for one in check_subdir(Subdir("noarch", found, archives or {}))]


GOOD = repodata(**{"packages.conda": {"a.conda": RECORD}, "packages": {}})


def on_disk(sha256, size):
    return FileEntry(RelPath("a.conda"), size, Digest(sha256))


THERE = {"a.conda": on_disk(ONE, 3)}


def test_one_thing_is_said():
    assert findings(GOOD, THERE) == []


@pytest.mark.parametrize(
    ("archives", "kind"),
    [
        ({}, "missing"),
        ({"a.conda": on_disk(TWO, 3)}, "changed"),
        ({"a.conda": on_disk(ONE, 4)}, "changed"),
    ],
)
def test_archives_that_are_not_what_the_record_says(archives, kind):
    assert findings(GOOD, archives) == [(kind, "noarch/a.conda")]


def test_zombies_have_no_record():
    archives = {**THERE, "old.tar.bz2": on_disk(TWO, 1)}
    assert findings(GOOD, archives) == [("extra", "noarch/old.tar.bz2")]


def test_record_without_hash():
    data = repodata(**{"packages.conda": {"a.conda": {"size": 3}}})
    assert findings(data, THERE) == [("malformed", "noarch/a.conda")]
    data = repodata(**{"packages.conda": {"a.conda": {"sha256": ONE}}})
    assert findings(data, THERE) == []


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{",
        b"{}",
        b'{"info": []}',
        repodata("linux-64"),
        repodata(packages=[]),
        repodata(packages={"a.tar.bz2": 7}),
        repodata(packages={"a.conda": RECORD}),
        repodata(packages={"../a.tar.bz2": RECORD}),
        b'{"info": {"subdir": "noarch"}, "info": {}}',
    ],
)
def test_malformed_repodata(data):
    assert findings(data) == [("malformed", "noarch/repodata.json")]


def test_missing_and_differing_variants():
    assert findings(None) == [
        ("missing", "noarch/repodata.json"),
        ("missing", "noarch/repodata.json.zst"),
    ]
    other = findings(GOOD, THERE, **{"repodata.json.bz2": GOOD + b" ", "x": None})
    assert other == [("contradiction", "noarch/repodata.json.bz2"), ("missing", "noarch/x")]


def entry(path, sha256=ONE, size=3):
    return {
        RelPath(path): FileEntry(
            RelPath(path), UNKNOWN_SIZE if size is None else size, Digest(sha256)
        )
    }


@pytest.mark.parametrize(
    ("there", "odd", "found"),
    [
        ({"a": on_disk(ONE, 3)}, (), []),
        ({}, (), [("missing", "missing")]),
        ({}, ("a",), [("missing", "is no plain file")]),
        ({"a": on_disk(TWO, 3)}, (), [("changed", "changed")]),
        ({"a": on_disk(ONE, 4)}, (), [("changed", "another size")]),
    ],
)
def test_files_against_the_list(there, odd, found):
    assert [
        (one.kind, one.what) for one in compare_release(entry("a"), Inventory(there, odd, ()), 1)
    ] == found


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("repack/manifest.json", False),
        ("repack/releases/1/manifest.json", False),
        ("repack/releases/2/manifest.json", True),
        ("repack/metadata/ci.json", False),
        ("evil", True),
    ],
)
def test_files_that_nobody_listed(path, extra):
    found = list(compare_release({}, Inventory({path: on_disk(ONE, 1)}, (), ()), 1))
    assert [one.path for one in found] == ([path] if extra else [])
    assert [one.path for one in compare_release({}, Inventory({}, (path,), ()), 1)] == [path], (
        "a link is never right"
    )


@pytest.mark.parametrize(
    ("entries", "count"),
    [
        (entry("a"), 0),
        (entry("a", size=None), 0),
        (entry("b"), 1),
        (entry("a", TWO), 1),
        (entry("a", size=4), 1),
    ],
)
def test_manifest_against_the_list(entries, count):
    artifact = Artifact(RelPath("a"), 3, Digest(ONE), None)
    assert len(list(compare_artifacts([artifact], entries))) == count


def test_findings_are_said_in_one_line():
    one = Finding("changed", "a", "changed", ONE, TWO)
    assert str(one) == f"a: changed (expected {ONE}, got {TWO})"
    assert str(Finding("extra", "b", "is extra")) == "b: is extra"
    assert one.to_json()["got"] == TWO
