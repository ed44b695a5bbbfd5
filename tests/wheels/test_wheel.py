"""Reading wheels: what they say, and what is refused."""

from __future__ import annotations

import stat
import zipfile

import pytest

from repack.errors import IntegrityError
from repack.wheels.wheel import read_wheel
from tests.wheels.wheels import make_wheel


def test_what_a_wheel_says(tmp_path):
    path = make_wheel(
        tmp_path,
        metadata=(
            "Summary: Scores  things\nLicense-Expression: MIT\nLicense-File: LICENSE\n"
            "Requires-Python: >=3.9\nRequires-Dist: numpy>=1.26\n"
            'Requires-Dist: rich; extra == "cli"\n'
        ),
        files={"acme_scoring-2.1.dist-info/licenses/LICENSE": b"MIT"},
        entry_points="[console_scripts]\nScore = acme_scoring:main\n[gui_scripts]\nw = a.b:c.d\n",
    )
    wheel = read_wheel(path)
    assert (wheel.name, wheel.version, wheel.is_pure) == ("acme-scoring", "2.1", True)
    assert (wheel.license, wheel.summary) == ("MIT", "Scores things")
    assert wheel.requires == ("numpy>=1.26", 'rich; extra == "cli"')
    assert wheel.requires_python == ">=3.9"
    assert [point.line for point in wheel.entry_points] == [
        "Score = acme_scoring:main",
        "w = a.b:c.d",
    ]
    assert [point.is_gui for point in wheel.entry_points] == [False, True]
    assert wheel.license_files == ("acme_scoring-2.1.dist-info/licenses/LICENSE",)


@pytest.mark.parametrize(
    ("metadata", "license_name"),
    [
        ("License: BSD-3-Clause\n", "BSD-3-Clause"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("License: a text\n  of several lines\n", None),
        ("", None),
    ],
)
def test_licences(tmp_path, metadata, license_name):
    assert read_wheel(make_wheel(tmp_path, metadata=metadata)).license == license_name


def broken(path, change):
    with zipfile.ZipFile(path) as archive:
        rows = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in change(rows):
            archive.writestr(info, data)
    return path


def link(rows):
    info = zipfile.ZipInfo("acme_scoring/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return [*rows, (info, b"/etc/passwd")]


@pytest.mark.parametrize(
    "change",
    [
        link,
        lambda rows: [*rows, (zipfile.ZipInfo("../evil.py"), b"x")],
        lambda rows: [*rows, (zipfile.ZipInfo("/etc/evil"), b"x")],
        lambda rows: [*rows, (zipfile.ZipInfo("a\\b"), b"x")],
        lambda rows: [*rows, (zipfile.ZipInfo("ACME_scoring/__init__.py"), b"x")],
        lambda rows: [*rows, (zipfile.ZipInfo("other-1.dist-info/METADATA"), b"x")],
        lambda rows: [row for row in rows if not row[0].filename.endswith("METADATA")],
        lambda rows: [],
    ],
)
def test_hostile_wheels_are_refused(tmp_path, change):
    with pytest.raises(IntegrityError):
        read_wheel(broken(make_wheel(tmp_path), change))


@pytest.mark.parametrize(
    "metadata",
    [
        "Requires-Dist: no requirement at all\n",
        "Requires-Python: newish\n",
    ],
)
def test_odd_metadata_is_refused(tmp_path, metadata):
    with pytest.raises(IntegrityError):
        read_wheel(make_wheel(tmp_path, metadata=metadata))


@pytest.mark.parametrize(
    "points", ["[console_scripts]\n../x = a:b\n", "[console_scripts]\nx = a b\n"]
)
def test_odd_entry_points_are_refused(tmp_path, points):
    with pytest.raises(IntegrityError):
        read_wheel(make_wheel(tmp_path, entry_points=points))


def test_another_distribution_under_the_name(tmp_path):
    path = make_wheel(tmp_path, name="other")
    renamed = path.rename(tmp_path / "acme_scoring-2.1-py3-none-any.whl")
    with pytest.raises(IntegrityError, match="another distribution"):
        read_wheel(renamed)


@pytest.mark.parametrize("data", [b"", b"PK", b"x" * 1000])
def test_what_is_no_wheel(tmp_path, data):
    path = tmp_path / "a-1-py3-none-any.whl"
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        read_wheel(path)


@pytest.mark.parametrize("fn", ["a.whl", "a-1.tar.gz", "a-1-py3-none.whl"])
def test_names_that_are_none(tmp_path, fn):
    with pytest.raises(IntegrityError):
        read_wheel(make_wheel(tmp_path).rename(tmp_path / fn))


def test_a_bomb(tmp_path):
    path = make_wheel(tmp_path, files={"acme_scoring/zeros": bytes(64 << 20)})
    with pytest.raises(IntegrityError, match="too much"):
        read_wheel(broken_ratio(path))


def broken_ratio(path):
    """The same with a size in its directory that it does not have."""
    data = path.read_bytes()
    size = (64 << 20).to_bytes(4, "little")
    assert data.count(size)
    path.write_bytes(data.replace(size, (3 << 30).to_bytes(4, "little")))
    return path
