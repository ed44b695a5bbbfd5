from __future__ import annotations

import sys
import time

import pytest

from repack.places import sandbox

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no rm")


def eventually(true):
    """Wait for what another process does."""
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    assert true()


def filled(prefix):
    (prefix / "lib").mkdir(parents=True)
    (prefix / "lib" / "file").write_bytes(b"x")
    return prefix


def test_a_prefix_is_out_of_the_way_at_once_and_gone_soon(tmp_path):
    prefix = filled(tmp_path / "ä b" / "key")
    sandbox.discard(prefix)
    assert not prefix.exists()
    eventually(lambda: not list(prefix.parent.iterdir()))


def test_the_next_prefix_in_the_same_place_stays(tmp_path):
    prefix = filled(tmp_path / "key")
    sandbox.discard(prefix)
    filled(sandbox.fresh(prefix))
    eventually(lambda: [path.name for path in tmp_path.iterdir()] == ["key"])
    time.sleep(0.1)
    assert (prefix / "lib" / "file").is_file()


def test_what_a_power_cut_left_goes_with_the_next(tmp_path):
    filled(tmp_path / ".repack-gone-old")
    sandbox.fresh(tmp_path / "key")
    eventually(lambda: not list(tmp_path.iterdir()))


def test_without_a_shell_it_is_removed_before_the_build_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    sandbox.discard(filled(tmp_path / "key"))
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_need_not_go(tmp_path):
    sandbox.discard(tmp_path / "key")
    assert not list(tmp_path.iterdir())
