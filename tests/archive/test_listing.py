"""The files of a package, from archives of both formats, whole and damaged."""

from __future__ import annotations

import pytest

from repack.archive.reader import read_paths
from repack.conda.rattler import is_older
from repack.errors import IntegrityError, PlaceError
from tests import tiny

DATA = tiny.Package("data", files={"share/a.txt": "a\n", "share/ü/b.txt": "bb\n"})


@pytest.mark.parametrize("form", ["conda", "tar.bz2"])
def test_files_of_a_package(tmp_path, form):
    archive = tiny.archive(DATA, tmp_path, form)
    rows = read_paths(archive, archive.name)
    assert [(row["_path"], row["size_in_bytes"]) for row in rows] == [
        ("share/a.txt", 2),
        ("share/ü/b.txt", 3),
    ]


@pytest.mark.parametrize("form", ["conda", "tar.bz2"])
def test_a_cut_archive_is_told_from_one_without_a_list(tmp_path, form):
    archive = tiny.archive(DATA, tmp_path, form)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(IntegrityError):
        read_paths(archive, archive.name)
    with pytest.raises(PlaceError):
        read_paths(tmp_path / "gone.conda", "gone.conda")


def test_conda_decides_which_version_is_older():
    assert is_older("1.9", "1.10")
    assert is_older("1.0rc1", "1.0")
    assert is_older("2024.1", "1!1.0")
    assert not is_older("1.0", "1.0")
    assert not is_older("no version", "1.0")
