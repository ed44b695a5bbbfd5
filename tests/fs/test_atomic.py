"""The only writer: what it removes and replaces. Windows does neither to read-only files."""

from __future__ import annotations

import sys

import pytest

from repack.errors import PlaceError
from repack.fs import atomic, links, locks


@pytest.fixture
def sealed(tmp_path):
    """A read-only file, as the store's archives are, in a folder."""
    path = tmp_path / "channel" / "a-1-0.conda"
    path.parent.mkdir()
    path.write_bytes(b"old")
    path.chmod(0o444)
    return path


def test_a_read_only_file_is_removed(sealed):
    atomic.remove(sealed)
    assert not sealed.exists()
    atomic.remove(sealed)


def test_a_folder_with_read_only_files_is_removed(sealed):
    (sealed.parent / "open").write_bytes(b"")
    atomic.remove(sealed.parent)
    assert not sealed.parent.exists()


def test_a_read_only_file_is_replaced(sealed, tmp_path):
    (tmp_path / "new").write_bytes(b"new")
    atomic.rename(tmp_path / "new", sealed)
    assert sealed.read_bytes() == b"new"
    source = tmp_path / "store"
    source.write_bytes(b"newer")
    source.chmod(0o444)
    links.place(source, sealed)
    assert sealed.read_bytes() == b"newer"


def test_a_read_only_file_of_a_cache_gives_way(sealed):
    atomic.write_cached(sealed, b"new")
    assert sealed.read_bytes() == b"new"


@pytest.mark.skipif(sys.platform != "win32", reason="only Windows holds on to what is open")
def test_a_file_that_somebody_has_open_is_named(sealed):
    with sealed.open("rb"):
        with pytest.raises(PlaceError, match=r"a-1-0\.conda"):
            atomic.remove(sealed)
        with pytest.raises(PlaceError, match=r"a-1-0\.conda"):
            atomic.remove(sealed.parent)
    assert sealed.read_bytes() == b"old"


def test_a_lock_is_one_lock_wherever_the_file_is_read(tmp_path):
    path = tmp_path / "lock"
    path.write_bytes(bytes(40))
    with path.open("rb") as one, path.open("rb") as other:
        other.read(8)
        assert locks.try_lock(other)
        assert other.tell() == 8
        assert not locks.try_lock(one)
