from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from repack.archive.package import PackageFile, PackageSpec, with_content_build
from repack.errors import IntegrityError, UsageError

SPEC = PackageSpec(
    "halkbank-models", "2024.10.0", members=(PackageFile.of("b", b"2"), PackageFile.of("a", b"1"))
)


def info(spec: PackageSpec) -> dict[str, object]:
    return {
        m.path: json.loads(m.content) if m.path.endswith(".json") else m.content
        for m in spec.info()
    }


def test_order_of_members_does_not_matter():
    other = replace(SPEC, members=tuple(reversed(SPEC.members)))
    assert other == SPEC
    assert with_content_build(other).build == with_content_build(SPEC).build


@pytest.mark.parametrize(
    "change",
    [
        {"members": (PackageFile.of("a", b"1"),)},
        {"members": (PackageFile.of("a", b"1"), PackageFile.of("b", b"3"))},
        {"members": (PackageFile.of("a", b"1"), PackageFile.of("c", b"2"))},
        {"license": "MIT"},
        {"level": 3},
        {"depends": ("x 1 0",)},
        {"summary": "other"},
        {"subdir": "linux-64", "noarch": None},
    ],
)
def test_build_names_all_that_makes_the_bytes(change):
    assert with_content_build(replace(SPEC, **change)).build != with_content_build(SPEC).build


def test_build_number_does_not_change_the_content_part():
    one, two = with_content_build(SPEC, 1), with_content_build(SPEC, 2)
    assert one.build.removesuffix("_1") == two.build.removesuffix("_2")
    assert (one.build_number, two.build_number) == (1, 2)


def test_info_says_what_clients_read():
    files = info(with_content_build(SPEC))
    assert files["info/index.json"]["noarch"] == "generic"
    assert files["info/index.json"]["subdir"] == "noarch"
    assert files["info/index.json"]["arch"] is None
    assert files["info/files"] == b"a\nb\n"
    assert files["info/link.json"]["noarch"] == {"type": "generic"}
    assert files["info/about.json"]["license"] == "LicenseRef-Proprietary"
    assert [row["_path"] for row in files["info/paths.json"]["paths"]] == ["a", "b"]


def test_platform_package_has_its_platform_and_no_link_json():
    files = info(replace(SPEC, subdir="win-64", noarch=None))
    assert (files["info/index.json"]["arch"], files["info/index.json"]["platform"]) == (
        "x86_64",
        "win",
    )
    assert "noarch" not in files["info/index.json"]
    assert "info/link.json" not in files


def test_noarch_python_carries_its_entry_points():
    spec = replace(SPEC, noarch="python", entry_points=("repack = repack.cli.main:main",))
    assert info(spec)["info/link.json"]["noarch"] == {
        "type": "python",
        "entry_points": ["repack = repack.cli.main:main"],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Models"},
        {"name": "a/b"},
        {"version": "1-2"},
        {"version": ""},
        {"build": "a-b"},
        {"level": 0},
        {"level": 22},
    ],
)
def test_names_that_conda_refuses(change):
    with pytest.raises(UsageError):
        replace(SPEC, **change)


def test_a_path_twice():
    with pytest.raises(IntegrityError, match="twice"):
        replace(SPEC, members=(PackageFile.of("a", b"1"), PackageFile.of("a", b"2")))


def test_a_path_that_leads_out():
    with pytest.raises(IntegrityError):
        PackageFile.of("../a", b"1")
