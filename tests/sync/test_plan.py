"""What has to be done at a destination, and what a volume can hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.errors import IntegrityError, SpaceError, UsageError
from repack.file_entry import FileEntry
from repack.fs.volume import FAT32_LIMIT, Volume
from repack.names import Digest, LabelName, RelPath
from repack.sync.plan import ReleaseFiles, check_destination, check_fits, make_plan

NAMES = st.sampled_from([f"noarch/{c}.conda" for c in "abcdeFG"])


def piece(path, size=10):
    return FileEntry(RelPath(path), size, Digest("0" * 64))


def cargo(packages=("noarch/a.conda",), texts=("noarch/repodata.json", "repack/manifest.json")):
    return ReleaseFiles(
        LabelName("bank"),
        1,
        {RelPath(path): piece(path) for path in packages},
        {RelPath(path): path.encode() for path in texts},
    )


def test_order_is_that_of_publishing():
    texts = ("repack/manifest.json", "noarch/repodata.json", "index.html")
    work = make_plan(cargo(texts=texts), [], [])
    assert [one.path for one in work.copy] == [
        "noarch/a.conda",
        "index.html",
        "noarch/repodata.json",
        "repack/manifest.json",
    ]


@given(st.sets(NAMES), st.sets(NAMES), st.sets(NAMES))
def test_plan_is_complete(wanted, there, stays):
    right = wanted & there
    work = make_plan(cargo(sorted(wanted), ()), there, right, stays)
    assert {one.path for one in work.copy} == wanted - there
    assert {one.path for one in work.keep} == right
    assert set(work.remove) == there - wanted - stays


def test_other_spelling_is_no_zombie():
    assert make_plan(cargo(), ["NOARCH/A.conda"], []).remove == ()


def test_fat32_names_what_is_too_large():
    volume = Volume("fat32", 1 << 50)
    check_fits([piece("noarch/a.conda", FAT32_LIMIT)], volume, "E:")
    with pytest.raises(SpaceError) as caught:
        check_fits([piece("noarch/a.conda", FAT32_LIMIT + 1)], volume, "E:")
    assert "noarch/a.conda" in caught.value.text()
    check_fits([piece("noarch/a.conda", FAT32_LIMIT + 1)], Volume("exfat", 1 << 50), "E:")


def test_clusters_count():
    pieces = [piece(f"noarch/{number}.conda", 1) for number in range(10)]
    check_fits(pieces, Volume("exfat", 10 * 4096), "E:")
    with pytest.raises(SpaceError, match="and 3 more") as caught:
        check_fits(pieces, Volume("exfat", 2 * 4096), "E:")
    assert "free 32768 bytes" in str(caught.value.hint)


def test_names_that_a_volume_cannot_hold_side_by_side():
    with pytest.raises(IntegrityError, match="case"):
        check_fits([piece("noarch/a.conda"), piece("noarch/A.conda")], Volume("exfat", 1 << 40), "")
    with pytest.raises(IntegrityError, match="Windows"):
        check_fits([piece("noarch/aux.conda")], Volume("exfat", 1 << 40), "")


@pytest.mark.parametrize("there", [["thesis.odt"], [".bashrc"], ["noarchive/a"], [".a.b.c123456"]])
def test_foreign_folders_are_refused(there):
    with pytest.raises(UsageError, match="other things"):
        check_destination(cargo(), there, None, "/home/me")


@pytest.mark.parametrize(
    "there",
    [[], ["noarch/old-1-0.conda"], ["repack/metadata/1.root.json"], [".index.html.Ab12Cd"]],
)
def test_leftovers_of_a_first_copy_are_ours(there):
    check_destination(cargo(texts=("index.html",)), there, None, "/share/bank")
    check_destination(cargo(), ["README of the customer"], "bank", "/share/bank")


def test_another_label_is_refused():
    with pytest.raises(UsageError, match="another label"):
        check_destination(cargo(), [], "other", "/share")
