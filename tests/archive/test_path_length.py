from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.archive.facts import About, Facts
from repack.archive.path_length import PathLengths, length, linked_path, longest
from tests.archives import Package


def test_length_counts_what_windows_counts():
    assert length("a" * 30) == 30
    assert length("folder/x") == len("folder") + 12
    assert length("folder/a-long-file-name") == len("folder/a-long-file-name")
    assert length("ä" * 10) == 10
    assert length("😀" * 10) == 20


PATHS = st.lists(st.text("abä😀/", min_size=1, max_size=40), max_size=8)


@given(PATHS)
def test_longest_is_the_longest(paths):
    expected = max(map(length, paths), default=0)
    assert length(longest(paths)) == expected
    assert longest(paths) == longest(paths[::-1])


@pytest.mark.parametrize(
    ("path", "noarch", "linked"),
    [
        ("Lib/a.py", None, "Lib/a.py"),
        ("share/a.py", "generic", "share/a.py"),
        ("share/a.py", "python", "share/a.py"),
        ("site-packages/a/b.py", "python", "Lib/site-packages/a/__pycache__/b.cpython-311.pyc"),
        ("site-packages/a/b.dat", "python", "Lib/site-packages/a/b.dat"),
        ("python-scripts/tool", "python", "Scripts/tool"),
    ],
)
def test_where_files_are_linked(path, noarch, linked):
    assert linked_path(path, noarch) == linked


def facts(longest_path: str, longest_linked: str) -> Facts:
    return Facts("info", {}, About(), 1, 1, longest_path, longest_linked)


def test_reach_of_a_label():
    short = (Package(name="a").record(b""), facts("x" * 20, "y" * 90))
    long = (Package(name="a" * 30).record(b""), facts("x" * 15, "y" * 10))
    reach = PathLengths.of([short, long])
    assert reach.cached == f"pkgs/{'a' * 30}-1.0-0/{'x' * 15}"
    assert reach.linked == "y" * 90
    # root + separator + path fill 259 characters
    assert reach.longest_root + 1 + len(reach.cached) == 259
    assert reach.longest_prefix + 1 + 90 == 259


def test_reach_of_nothing():
    assert PathLengths.of([]) == PathLengths("", "", 258, 258)
