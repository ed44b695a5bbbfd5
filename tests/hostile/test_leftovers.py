"""What a build leaves behind when it fails, and what a copy of a channel can take."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from repack.channel.folder import Channels
from repack.errors import RepackError
from repack.names import LabelName
from tests.world import World

NAME = LabelName("bank")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def litter(world: World) -> list[str]:
    """What is beside the channel, but its history, locks and pages."""
    kept = {"bank", ".history", ".locks", "index.html", "labels.json"}
    return sorted(path.name for path in world.channels.iterdir() if path.name not in kept)


def test_a_build_leaves_no_staging(world):
    world.build()
    assert not (world.channels / ".staging").exists()
    world.build(packages=["tiny-data"])
    assert not (world.channels / ".staging").exists()


@pytest.mark.parametrize("first", [False, True], ids=["an old release", "nothing there"])
def test_a_failed_proof_leaves_no_staging(world, first):
    if not first:
        world.build(packages=["tiny-data"])
    world.fail(7, packages=["tiny-app"], health_check=["/no/such/program"])
    assert not (world.channels / ".staging").exists()
    assert [name for name in litter(world) if "staging" in name] == []


@pytest.mark.parametrize("what", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_staging_that_breaks_off_leaves_nothing(world, monkeypatch, what):
    world.build(packages=["tiny-data"])

    def breaks(*_args):
        raise what

    monkeypatch.setattr("repack.channel.folder.write_texts", breaks)
    channels = Channels(world.channels)
    from repack.channel.folder import ChannelTree

    broken = pytest.raises((RepackError, OSError, KeyboardInterrupt))
    with broken, channels.staged(NAME, ChannelTree({}, {})):
        pytest.fail("was staged")
    assert not (world.channels / ".staging").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_every_published_file_can_be_written_by_its_owner(world):
    world.build()
    for path in world.channel.rglob("*"):
        assert path.stat().st_mode & 0o200, path


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_an_older_store_s_read_only_archives_become_writable(world):
    world.build(packages=["tiny-data"])
    for path in world.store.rglob("*"):
        # pkgs is the cache of rattler, which opens its own lock for writing.
        if path.is_file() and "pkgs" not in path.relative_to(world.store).parts:
            path.chmod(0o444)
    world.build(packages=["tiny-app"])
    for path in world.channel.rglob("*"):
        assert path.stat().st_mode & 0o200, path


@pytest.mark.skipif(sys.platform == "win32", reason="`cp` and ordinary users of POSIX")
def test_an_ordinary_user_copies_twice(world):
    """`cp -r` twice over, as whoever carries the folder does; root could write anything."""
    world.build(packages=["tiny-app"])
    command: list[str] = []
    if os.geteuid() == 0:
        become = shutil.which("setpriv")
        if become is None:
            pytest.skip("root, and no setpriv to become somebody else")
        command = [become, "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        shutil.copytree(world.channel, place / "published", copy_function=shutil.copy2)
        for _ in range(2):
            copied = subprocess.run(
                [*command, "cp", "-r", f"{place}/published/.", f"{place}/copy"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert copied.returncode == 0, copied.stderr
        same = ["diff", "-r", str(world.channel), f"{place}/copy"]
        assert subprocess.run(same, check=False).returncode == 0
