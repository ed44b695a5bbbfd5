"""The pointer to the release in use, in both styles."""

from __future__ import annotations

import itertools
import sys
import threading

import pytest

from repack.agent.pointer import Pointer
from repack.errors import PlaceError

links = pytest.mark.skipif(sys.platform == "win32", reason="only administrators make links there")


def has_junctions(folder) -> bool:
    """Whether this is no Windows, or one with junctions: wine has none, nor has FAT."""
    if sys.platform != "win32":
        return True
    import _winapi

    try:
        _winapi.CreateJunction(str(folder), str(folder / "probe"))
    except OSError:
        return False
    finally:
        (folder / "probe").rmdir()
    return True


@pytest.mark.parametrize("style", [pytest.param("link", marks=links), "file"])
def test_it_points_to_one_release_or_to_none(tmp_path, style):
    if not has_junctions(tmp_path):
        pytest.skip("no junctions here")
    pointer = Pointer(tmp_path / "current", style)
    for number in (1, 12):
        (tmp_path / "releases" / str(number)).mkdir(parents=True)
    assert pointer.get() is None
    pointer.set(None)
    for number in (1, 12, 1):
        pointer.set(number)
        assert pointer.get() == number
    pointer.set(None)
    assert pointer.get() is None
    assert [path.name for path in tmp_path.iterdir()] == ["releases"]


@pytest.mark.skipif(sys.platform != "win32", reason="junctions are Windows'")
def test_a_volume_without_junctions_is_named_before_anything_changes(tmp_path):
    if has_junctions(tmp_path):
        pytest.skip("there are junctions here")
    (tmp_path / "releases/1").mkdir(parents=True)
    pointer = Pointer(tmp_path / "current", "file")
    with pytest.raises(PlaceError, match="NTFS"):
        pointer.set(1)
    assert pointer.get() is None
    assert [path.name for path in tmp_path.iterdir()] == ["releases"]


@links
def test_a_link_is_relative(tmp_path):
    (tmp_path / "releases/3").mkdir(parents=True)
    Pointer(tmp_path / "current", "link").set(3)
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    assert (moved / "current").samefile(moved / "releases/3")
    moved.rename(tmp_path)


@pytest.mark.parametrize("text", ["", "elsewhere/3", "releases/x", "releases/", "\xff"])
def test_what_others_wrote_is_no_release(tmp_path, text):
    (tmp_path / "current.txt").write_text(text, "latin-1")
    assert Pointer(tmp_path / "current", "file").get() is None


@links
def test_a_folder_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "current").mkdir()
    with pytest.raises(PlaceError):
        Pointer(tmp_path / "current", "link").set(1)
    assert (tmp_path / "current").is_dir()


@links
def test_a_reader_always_finds_a_release(tmp_path):
    for number in (1, 2):
        folder = tmp_path / f"releases/{number}"
        folder.mkdir(parents=True)
        (folder / "it").write_text(str(number))
    pointer, seen, stop = Pointer(tmp_path / "current", "link"), set(), threading.Event()
    pointer.set(1)

    def read():
        while not stop.is_set():
            seen.add((tmp_path / "current/it").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in itertools.count():
            pointer.set(turn % 2 + 1)
            # A reader that never saw a release proves nothing about it.
            if turn >= 30 and (len(seen) > 1 or not reader.is_alive()):
                break
    finally:
        stop.set()
        reader.join()
    assert seen == {"1", "2"}


@links
def test_a_leftover_of_a_cut_off_switch_does_no_harm(tmp_path):
    (tmp_path / ".repack-current").symlink_to("releases/9")
    pointer = Pointer(tmp_path / "current", "link")
    pointer.set(1)
    assert pointer.get() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["current"]
