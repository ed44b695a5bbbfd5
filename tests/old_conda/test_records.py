from __future__ import annotations

import json

import pytest
from msgspec.structs import asdict

from repack.archive.facts import About, Facts
from repack.names import Digest
from repack.old_conda.records import (
    changes_json,
    for_old_conda,
    noarch_python_trouble,
    unspeakable,
    without_link_json,
)
from repack.store.derived import DerivedArchive, read_derived, write_derived
from tests.archives import Package

MADE = DerivedArchive(Digest("ab" * 32), "cd" * 16, 77)
DEPENDS = [
    "__glibc >=2.17,<3.0.a0",
    "python >=3.9",
    "conda-forge::__unix",
    "_libgcc_mutex",
    "__win",
]


def test_record_of_a_transmuted_package():
    record = Package().record(
        b"x", depends=DEPENDS, constrains=["__cuda >=12", "b"], license="X", legacy_bz2_md5="ee"
    )
    new, change = for_old_conda(record, MADE)
    assert new.fn == "thing-1.0-0.tar.bz2"
    assert (new.sha256, new.md5, new.size) == (MADE.sha256, MADE.md5, MADE.size)
    expected = {
        **record.raw,
        "depends": ["python >=3.9", "_libgcc_mutex"],
        "constrains": ["b"],
        **asdict(MADE),
    }
    del expected["legacy_bz2_md5"]
    assert new.raw == expected
    assert record.depends == tuple(DEPENDS)
    assert changes_json([change])[0] == {
        "before": "linux-64/thing-1.0-0.conda",
        "after": "linux-64/thing-1.0-0.tar.bz2",
        "sha256_before": record.sha256,
        "sha256_after": MADE.sha256,
        "dropped": (
            "depends __glibc >=2.17,<3.0.a0",
            "depends conda-forge::__unix",
            "depends __win",
            "constrains __cuda >=12",
        ),
        "respelled": (),
    }
    assert str(change).startswith(
        "linux-64/thing-1.0-0.conda -> linux-64/thing-1.0-0.tar.bz2, with"
    )


def test_dependencies_are_said_in_old_words():
    record = Package().record(b"x", ".tar.bz2", depends=["a =2", "b >=1, <3", "c 1.*"])
    new, change = for_old_conda(record, None)
    assert new.depends == ("a 2.*", "b >=1,<3", "c 1.*")
    assert new.sha256 == record.sha256
    assert changes_json([change])[0]["respelled"] == ("a =2 -> a 2.*", "b >=1, <3 -> b >=1,<3")
    assert unspeakable([new]) == ()


def test_what_old_conda_has_no_words_for_is_named():
    record = Package().record(b"x", depends=["a[build_number=1]", "b"])
    new, change = for_old_conda(record, MADE)
    assert new.depends == record.depends
    assert change.respelled == ()
    assert unspeakable([new]) == ("thing: a[build_number=1]",)


def test_an_old_archive_keeps_its_bytes():
    plain = Package().record(b"x", ".tar.bz2", depends=["a"])
    assert for_old_conda(plain, None) == (plain, None)
    record = Package().record(b"x", ".tar.bz2", depends=["__unix"])
    new, change = for_old_conda(record, None)
    assert (new.fn, new.sha256, new.depends) == (record.fn, record.sha256, ())
    assert change.dropped == ("depends __unix",)


def test_a_change_without_losses_says_only_the_names():
    _, change = for_old_conda(Package().record(b"x"), MADE)
    assert str(change) == "linux-64/thing-1.0-0.conda -> linux-64/thing-1.0-0.tar.bz2"
    assert changes_json([change]) == [asdict(change)]


@pytest.mark.parametrize(
    "note", [None, [], {}, {"sha256": "x", "md5": "", "size": 1}, {"sha256": 1}]
)
def test_notes_that_are_none(note, tmp_path):
    path = tmp_path / "note.json"
    path.write_text(json.dumps(note))
    assert read_derived(path) is None


def test_notes(tmp_path):
    write_derived(tmp_path / "note.json", MADE)
    assert read_derived(tmp_path / "note.json") == MADE


@pytest.mark.parametrize(
    ("version", "trouble"),
    [
        ("3.9.18", ()),
        ("3.10.0", ("a", "z")),
        ("3.13.1", ("a", "z")),
        ("2.7", ()),
        ("4.0", ("a", "z")),
    ],
)
def test_noarch_python_packages_for_new_pythons(version, trouble):
    python = Package(name="python", version=version).record(b"")
    others = [
        Package(name=name, subdir="noarch").record(b"", noarch=kind)
        for name, kind in (("z", "python"), ("a", "python"), ("data", "generic"))
    ]
    assert noarch_python_trouble([python, *others]) == trouble
    assert noarch_python_trouble(others) == ()


def test_packages_that_old_conda_takes_for_ordinary_ones():
    def facts(noarch, has_link_json):
        return Facts("info", {}, About(), 1, 1, "", "", noarch=noarch, has_link_json=has_link_json)

    pairs = [
        (Package(name="b").record(b""), facts("python", False)),
        (Package(name="c").record(b""), facts("python", True)),
        (Package(name="d").record(b""), facts(None, False)),
    ]
    assert without_link_json(pairs) == ("b",)
