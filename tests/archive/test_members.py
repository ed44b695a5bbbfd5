from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.archive.members import SHOWN, case_twins, check_links, check_names, windows_faults
from repack.errors import IntegrityError
from repack.names import RelPath, windows_fault

HOSTILE = [
    "../up",
    "a/../../up",
    "a/..",
    "..",
    ".",
    "./a",
    "a/./b",
    "/etc/passwd",
    "a//b",
    "a/",
    "",
    "C:/x",
    "c:x",
    "a\\b",
    "\\\\server\\share",
    "a\x00b",
    "a\nb",
    "a\rb",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_and_named(name):
    with pytest.raises(IntegrityError) as caught:
        check_names(["lib/good", name, "zlib/also-good"])
    assert caught.value.got == repr(name)
    with pytest.raises(IntegrityError):
        check_names([name])


def test_odd_but_harmless_names_pass():
    check_names([])
    check_names([".hidden", "..a", "a..", "a...b/..c", "man3/A::B.3", "a/C:/x", "ä/ß", "a b"])


@given(st.lists(st.text("ab./\\:C\n", max_size=6), max_size=4))
def test_agrees_with_relpath(names):
    def fine(name):
        try:
            RelPath(name)
        except IntegrityError:
            return False
        return "\n" not in name

    if all(map(fine, names)):
        check_names(names)
    else:
        with pytest.raises(IntegrityError):
            check_names(names)


@pytest.mark.parametrize(
    ("links", "leads"),
    [
        ({"lib/a.so": "a.so.1"}, "in"),
        ({"lib/a.so": "../lib64/./a.so.1"}, "in"),
        ({"a": "."}, "in"),
        ({"a": "b/../c"}, "in"),
        ({"lib/a": "../.."}, "out"),
        ({"a": ".."}, "out"),
        ({"a": "/etc/passwd"}, "out"),
        ({"a": ""}, "out"),
        ({"a": "b/../../c"}, "out"),
        ({"p/q/s": "../..", "t": "p/q/s/.."}, "out"),  # each looks harmless alone
        ({"s": "deep/down", "t": "s/.."}, "in"),
        ({"a": "b", "b": "a"}, "out"),  # round and round
        ({"a": "b/x", "b": "/etc"}, "out"),
    ],
)
def test_links(links, leads):
    names = [*links, "p/q/x"]
    if leads == "in":
        check_links(links, names)
    else:
        with pytest.raises(IntegrityError, match="leads out"):
            check_links(links, names)


def test_nothing_is_written_through_a_link():
    with pytest.raises(IntegrityError, match="through"):
        check_links({"a": "b"}, ["a", "a/x/y"])


@given(
    st.dictionaries(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join),
        st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=5).map("/".join),
        min_size=1,
        max_size=4,
    )
)
def test_what_passes_stays_inside_on_disk(tmp_path_factory, links):
    try:
        check_links(links, list(links))
    except IntegrityError:
        return
    root = tmp_path_factory.mktemp("root") / "deep" / "enough" / "root"
    for name, target in links.items():
        path = root / PurePosixPath(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    for name in links:
        assert (root / name).resolve().is_relative_to(root.resolve())


def test_case_twins():
    assert case_twins([]) == ()
    assert case_twins(["a/x", "A/y", "b"]) == ()
    assert case_twins(["n/xterm", "N/xterm", "n/other"]) == (("N/xterm", "n/xterm"),)
    assert case_twins(["Foo", "foo/bar/x"]) == (("Foo", "foo/"),)
    assert case_twins(["straße", "strasse"]) == ()
    assert len(case_twins([f"{letter}{n}" for n in range(50) for letter in "aA"])) == SHOWN


@pytest.mark.parametrize(
    "name", ["a/con", "AUX.txt", "lib/nul .c", "x.", "x./y", "x ", "a:b", "a?", "lpt1", "a\x07b"]
)
def test_windows_faults(name):
    (found,) = windows_faults(["good/name", name, "con.d/config/console"][:2])
    assert found.startswith(name)


def test_windows_faults_are_bounded_and_right():
    assert windows_faults(["console/auxiliary", ".hidden", "a.b.c"]) == ()
    assert len(windows_faults([f"a{n}:b" for n in range(100)])) == SHOWN


@given(st.lists(st.text("acon.: /1x\t", min_size=1, max_size=6), min_size=1, max_size=3))
def test_windows_faults_miss_nothing(names):
    faulty = [name for name in dict.fromkeys(names) if any(map(windows_fault, name.split("/")))]
    for name, found in zip(faulty, windows_faults(names), strict=True):
        assert found.startswith(f"{name}: ")
