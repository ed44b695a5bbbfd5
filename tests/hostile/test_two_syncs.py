"""Several machines that bring releases to one folder at the same time, and what stood in its way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from repack.channel.folder import Channels
from repack.cli.main import run
from repack.errors import BusyError
from repack.fs import locks
from repack.names import LabelName
from repack.sync import staging
from repack.sync.copy import LocalCopy
from repack.sync.deliver import published_files
from repack.sync.sync import SyncOptions, sync
from tests.world import World

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    """A label with one release; never write into it."""
    world = World(tmp_path_factory.mktemp("vendor ü"))
    world.build()
    return world


class Stalled(LocalCopy):
    """A slow connection: says when it has begun, and goes on when it is told to."""

    def __init__(self, source):
        super().__init__(source)
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def copy(self, entries, stage, advance):
        super().copy(entries[:1], stage, advance)
        self.has_begun.set()
        assert self.may_go_on.wait(60)
        super().copy(entries, stage, advance)


class Notes:
    """Progress that keeps the notes, and lets the slow one go on when the other waits."""

    def __init__(self, slow):
        self.said, self._slow = [], slow

    def note(self, text):
        self.said.append(text)
        self._slow.may_go_on.set()

    def phase(self, *_arguments):
        from repack.progress import SILENT

        return SILENT.phase(*_arguments)


def machine(world, engine, dest):
    """`repack sync` on a machine of its own: its copy of the channel, and the same share."""
    words = ["sync", "bank", str(dest), "--channels-dir", str(world), "--with", engine]
    return subprocess.Popen(
        [sys.executable, "-m", "repack", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_second_waits_for_the_first(vendor, tmp_path):
    label, dest = LabelName("bank"), tmp_path / "share"
    files = published_files(Channels(vendor.channels), label)
    slow = Stalled(lambda path: vendor.channel / path)
    results = []
    thread = threading.Thread(target=lambda: results.append(sync(files, dest, slow, SyncOptions())))
    thread.start()
    assert slow.has_begun.wait(60)
    notes = Notes(slow)
    quick = LocalCopy(lambda path: vendor.channel / path)
    second = sync(files, dest, quick, SyncOptions(progress=notes))
    thread.join(60)
    assert len(results) == 1
    assert ["waiting" in text for text in notes.said] == [True]
    assert second.plan.copy == ()  # the first one brought it all
    assert run(["verify", str(dest)]) == 0
    assert [path.name for path in dest.rglob(".repack-*")] == []


def test_who_never_gets_on_is_told_by_whom(vendor, tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "_ATTEMPTS", 1)
    monkeypatch.setattr(staging, "_PAUSE", 0)
    files = published_files(Channels(vendor.channels), LabelName("bank"))
    dest = tmp_path / "share"
    copy = LocalCopy(lambda path: vendor.channel / path)
    with (
        locks.exclusive(dest / staging.LOCK, "x", shared=True),
        pytest.raises(BusyError, match="a sync to this folder"),
    ):
        sync(files, dest, copy, SyncOptions())
    sync(files, dest, copy, SyncOptions())
    assert run(["verify", str(dest)]) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_a_share_without_locks_is_synced_to(vendor, tmp_path, monkeypatch):
    import errno
    import fcntl

    def has_none(*_arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    files = published_files(Channels(vendor.channels), LabelName("bank"))
    monkeypatch.setattr(fcntl, "flock", has_none)
    sync(files, tmp_path / "share", LocalCopy(lambda p: vendor.channel / p), SyncOptions())
    monkeypatch.undo()
    assert run(["verify", str(tmp_path / "share")]) == 0
    assert [path.name for path in (tmp_path / "share").rglob(".repack-*")] == []


@pytest.mark.skipif(sys.platform == "win32", reason="two copies of channels by links")
@pytest.mark.parametrize("engines", [("own", "own"), ("rsync", "rsync"), ("own", "rsync")])
def test_machines_that_begin_together_end_well(vendor, tmp_path, engines):
    """Their own channels, so that no lock of one machine keeps them apart."""
    import shutil

    if "rsync" in engines and not shutil.which("rsync"):
        pytest.skip("no rsync: apt-get install rsync")
    machines = [tmp_path / f"machine {number}" for number in range(4)]
    for folder in machines:
        shutil.copytree(vendor.channels, folder, copy_function=os.link)
    for attempt in range(3):
        dest = tmp_path / f"share {attempt}"
        started = [
            machine(folder, engines[number % 2], dest) for number, folder in enumerate(machines)
        ]
        for process in started:
            said, _ = process.communicate(timeout=120)
            assert process.returncode == 0, said
        assert run(["verify", str(dest)]) == 0
        assert [path.name for path in dest.rglob(".repack-*")] == []
