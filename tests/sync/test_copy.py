"""Copies that are gone on with, held back, and never wrong."""

from __future__ import annotations

import os

import pytest

from repack.errors import IntegrityError, PlaceError
from repack.file_entry import FileEntry
from repack.fs import atomic
from repack.fs.volume import volume
from repack.names import RelPath
from repack.sync.copy import RateLimit, copy_file

DATA = os.urandom(3 * atomic.CHUNK + 123)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_bytes(DATA)
    os.utime(tmp_path / "source", (1_000_000_000, 1_000_000_000))
    return tmp_path / "source"


def piece(data=DATA):
    return FileEntry.of_bytes(RelPath("noarch/a.conda"), data)


def bring(source, target, what=None):
    copy_file(source, target, what or piece(), RateLimit(None), lambda _count: None)


@pytest.mark.parametrize(
    "there",
    [
        b"",
        DATA[: atomic.CHUNK],
        DATA[:-1],
        DATA,
        DATA + b"more",
        DATA[:100] + bytes(atomic.CHUNK),
        bytes(len(DATA)),
    ],
)
def test_whatever_was_left_becomes_the_file(source, tmp_path, there):
    target = tmp_path / "stage" / "a.conda"
    target.parent.mkdir()
    target.write_bytes(there)
    bring(source, target)
    assert target.read_bytes() == DATA
    assert target.stat().st_mtime == 1_000_000_000


def test_what_is_there_is_not_written_again(source, tmp_path):
    target = tmp_path / "a.conda"
    target.write_bytes(DATA[: 2 * atomic.CHUNK])
    brake = RateLimit(1 << 40)
    spent = []
    brake.spend = spent.append
    copy_file(source, target, piece(), brake, lambda _count: None)
    assert sum(spent) == len(DATA) - 2 * atomic.CHUNK


def test_a_wrong_source_leaves_nothing(source, tmp_path):
    with pytest.raises(IntegrityError, match="source"):
        bring(source, tmp_path / "a.conda", piece(b"other"))
    assert not (tmp_path / "a.conda").exists()
    with pytest.raises(PlaceError):
        bring(tmp_path / "nothing", tmp_path / "a.conda")


class Clock:
    """In place of the module ``time``: it goes on only while somebody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("repack.sync.copy.time", clock := Clock())
    return clock


def test_the_brake_holds(clock):
    brake = RateLimit(100_000)
    for _ in range(5):
        brake.spend(5_000)
    assert clock.now == pytest.approx(1000.25)
    assert brake.chunk == 25_000


def test_time_in_which_nothing_could_be_sent_makes_no_burst(clock):
    brake = RateLimit(100_000)
    clock.sleep(600)
    brake.spend(60_000)
    assert 1600.25 <= clock.now <= 1600.6


def test_volume_of_a_folder_that_will_be(tmp_path):
    found = volume(tmp_path / "not" / "yet")
    assert found.kind == "other"
    assert found.free > 0
    assert volume(tmp_path, "fat32").kind == "fat32"
