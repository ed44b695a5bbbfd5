from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from repack.archive.package import PackageFile, PackageSpec, with_content_build
from repack.bundle.package import (
    bundle_package,
    follow,
    manifest_package,
    metapackage,
    path_problems,
)
from repack.conda.record import Record
from repack.display import printable
from repack.errors import LabelError
from repack.label.label import BundleSpec
from repack.names import LabelName

LABEL = LabelName("halkbank")
MODELS = BundleSpec("/data/models", "2024.10.0")


def package(*contents: bytes) -> PackageSpec:
    members = [PackageFile.of(f"{n}.bin", data) for n, data in enumerate(contents)]
    return bundle_package(LABEL, "models", MODELS, members)


def published(spec: PackageSpec, archive: str = ".conda") -> Record:
    raw = {**spec.index(), "sha256": hashlib.sha256(spec.dist.encode()).hexdigest(), "size": 1}
    return Record.of(raw, spec.dist + archive, "file:///x")


def test_bundle_is_named_and_placed_by_label():
    spec = package(b"1")
    assert spec.name == "halkbank-models"
    assert [m.path for m in spec.members] == ["share/repack/halkbank/models/0.bin"]
    assert spec.depends == ()


def test_licence_and_level_come_from_the_label():
    spec = bundle_package(LABEL, "m", replace(MODELS, license="MIT", compression_level=3), [])
    assert (spec.license, spec.level) == ("MIT", 3)


@pytest.mark.parametrize("name", ["manifest", "manifest.json", "lock.yml", "con"])
def test_names_that_a_bundle_cannot_have(name):
    with pytest.raises(LabelError, match="bundles." + name):
        bundle_package(LABEL, name, MODELS, [])


def test_first_of_its_version():
    found = follow(package(b"1"), [], ".conda")
    assert (found.spec.build_number, found.unchanged) == (0, None)


def test_same_content_keeps_its_build():
    before = published(with_content_build(package(b"1"), 4))
    found = follow(package(b"1"), [before], ".conda")
    assert found.unchanged is before
    assert found.spec.build == before.build


def test_changed_content_raises_the_number():
    before = published(with_content_build(package(b"1"), 4))
    found = follow(package(b"2"), [before], ".conda")
    assert (found.spec.build_number, found.unchanged) == (5, None)


def test_content_of_an_older_release_comes_back_as_a_newer_build():
    old, new = (
        published(with_content_build(package(b"1"), 0)),
        published(with_content_build(package(b"2"), 1)),
    )
    assert follow(package(b"1"), [new, old], ".conda").spec.build_number == 2


def test_other_versions_and_packages_do_not_count():
    other = published(replace(with_content_build(package(b"1"), 7), version="2024.9.0"))
    stranger = published(replace(with_content_build(package(b"1"), 7), name="x"))
    assert follow(package(b"2"), [other, stranger], ".conda").spec.build_number == 0


def test_other_format_keeps_the_build_but_is_packed():
    before = published(with_content_build(package(b"1"), 4), ".tar.bz2")
    found = follow(package(b"1"), [before], ".conda")
    assert (found.spec.build, found.unchanged) == (before.build, None)


def test_manifest_package():
    spec = manifest_package(LABEL, 12, {"manifest.json": b"{}", "lock.yml": b"a: 1\n"})
    assert (spec.name, spec.version, spec.noarch) == ("halkbank-manifest", "12", "generic")
    assert [m.path for m in spec.members] == [
        "share/repack/halkbank/lock.yml",
        "share/repack/halkbank/manifest.json",
    ]
    other = manifest_package(LABEL, 12, {"manifest.json": b"[]", "lock.yml": b"a: 1\n"})
    assert spec.build != other.build


def test_metapackage_pins_exact_builds_once():
    root = published(with_content_build(package(b"1")))
    spec = metapackage(LABEL, 12, "linux-64", [root, root])
    assert (spec.name, spec.version, spec.subdir, spec.noarch) == (
        "halkbank",
        "12",
        "linux-64",
        None,
    )
    assert spec.depends == (f"halkbank-models 2024.10.0 {root.build}",)


@pytest.mark.parametrize(
    ("paths", "bad"),
    [
        (["con", "a"], ["con"]),
        (["x/NUL.txt"], ["x/NUL.txt"]),
        (["a."], ["a."]),
        (["a "], ["a "]),
        (["dir. /a"], ["dir. /a"]),
        (["a:b", "a?b", "a\\b", "a\nb"], ["a\\nb", "a:b", "a?b", "a\\b"]),
        (["A.bin", "a.bin"], ["a.bin"]),
        (["A/x", "a/y"], ["a/y"]),
        (["strasse", "straße"], ["straße"]),
        (["e\u0301", "\u00e9"], ["\u00e9"]),
        (["n" * 201], ["n" * 201]),
        (["n" * 200], []),
        (["\udcff"], ["\\udcff"]),
        (["plain", "with space", "ünïcode", "a/b/c", "..a"], []),
    ],
)
def test_names_that_some_system_cannot_hold(paths, bad):
    assert sorted(problem.where for problem in path_problems(paths)) == sorted(bad)


def test_all_problems_at_once():
    assert len(path_problems(["con", "a.", "x:y", "B", "b"])) == 4


@given(st.text(min_size=1))
def test_printable_is_printable(text):
    assert printable(text).isprintable()
    printable(text).encode("utf-8")
