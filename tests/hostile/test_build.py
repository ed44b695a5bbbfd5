"""Builds that are cut off, starved, lied to or run twice: the published channel stays whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from repack.channel.folder import Channels
from repack.names import LabelName
from tests import tiny
from tests.world import World, check, records, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def command(world: World, *arguments: str) -> list[str]:
    folders = ("labels", "channels", "store")
    places = (world.labels, world.channels, world.store)
    options = [
        word
        for name, place in zip(folders, places, strict=True)
        for word in (f"--{name}" + ("" if name == "store" else "-dir"), str(place))
    ]
    return [sys.executable, "-m", "repack", "label", world.name, *options, *arguments]


def start(world: World, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command(world, *arguments),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


STATES = {"small": ["tiny-data"], "large": ["tiny-app", "tiny-data"]}


def _kill_rounds(world: World, rounds: int) -> None:
    """Build two states in turn, each killed somewhere; after each kill the channel is whole."""
    world.build(packages=STATES["small"])
    began = time.monotonic()
    world.build(packages=STATES["large"])
    longest = time.monotonic() - began + 0.3
    random.seed(11)
    for turn in range(rounds):
        state = STATES["small"] if turn % 2 == 0 else STATES["large"]
        world.write(packages=state)
        process = start(world)
        time.sleep(random.uniform(0.02, longest))
        process.kill()
        process.communicate()
        paths = check(world.channel)
        names = {path.split("/")[1].rsplit("-", 2)[0] for path in paths}
        assert {"tiny-data", "bank", "bank-manifest"} <= names
        assert ("tiny-app" in names) == ("python" in names) == ("pip" in names)
    final = world.build(packages=STATES["large"])
    assert final["platforms"]["linux-64"]["packages"] == 7
    assert len(check(world.channel)) == 10
    assert not list(world.channel.rglob(".repack-*"))


def test_killed_builds_leave_a_whole_channel(world):
    _kill_rounds(world, 8)


@pytest.mark.slow
def test_a_hundred_killed_builds_leave_a_whole_channel(world):
    _kill_rounds(world, 100)


def test_second_builder_of_a_label_is_refused_and_the_first_goes_on(world):
    world.build()
    with Channels(world.channels).exclusive(LabelName("bank")):
        message = world.fail(8, packages=["tiny-data"])
    assert "already running" in message
    assert world.build()["changed"]


def test_interrupt_ends_with_130_and_nothing_published(world):
    token = f"waits-{os.getpid()}-{time.monotonic_ns()}"
    wait = f"'{token}'; __import__('time').sleep(60)"
    world.write(health_check=["python", "-c", wait])
    process = start(world)
    deadline = time.monotonic() + 30
    while not _runs(token) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _runs(token)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert not world.channel.exists()


def _runs(token: str) -> bool:
    """Whether a Python was started with ``token`` in its program; in a sandbox or not."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"python" in words[0] and any(token.encode() in word for word in words[1:3]):
                return True
    return False


def archive(world: World, path: str) -> Path:
    return world.upstream / path


def redescribe(world: World, subdir: str, fn: str) -> None:
    """Make the record fit the archive's bytes again, as a careless upstream would."""
    data = (world.upstream / subdir / fn).read_bytes()
    found = records(world.upstream, subdir)
    found[fn] |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    tiny.write_repodata(world.upstream / subdir, found)


def test_wrong_bytes_upstream(world):
    world.build()
    victim = archive(world, "noarch/tiny-app-2.0-py_0.conda")
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    for path in world.store.glob("packages/*/*"):
        path.chmod(0o644)
        path.unlink()
    message = world.fail(6, packages=["tiny-app", "tiny-data"])
    assert victim.name in message


def test_archive_that_is_cut_off_but_described_so(world):
    victim = archive(world, "noarch/tiny-app-2.0-py_0.conda")
    victim.write_bytes(victim.read_bytes()[:-100])
    redescribe(world, "noarch", victim.name)
    assert victim.name in world.fail(6)


def test_archive_of_another_package(world):
    victim = archive(world, "noarch/tiny-app-2.0-py_0.conda")
    other = archive(world, "noarch/tiny-data-1.0-0.conda")
    victim.write_bytes(other.read_bytes())
    redescribe(world, "noarch", victim.name)
    assert victim.name in world.fail(6)


def test_archive_that_reaches_out_of_its_folder(world):
    evil = tiny.Package("tiny-data", noarch="generic", subdir="noarch", files={"../../evil": "x"})
    world.serve(*tiny.PACKAGES[:3], evil, tiny.PACKAGES[4])
    assert "tiny-data" in world.fail(6)


def test_same_name_with_other_bytes_in_two_channels(world):
    other = World(world.root / "other")
    changed = tiny.Package("tiny-data", noarch="generic", subdir="noarch", files={"share/x": "y"})
    other.serve(*tiny.PACKAGES[:3], changed, tiny.PACKAGES[4])
    # win-64 finds tiny-data in the second channel only, linux-64 in the first.
    found = records(world.upstream, "noarch")
    tiny.write_repodata(world.upstream / "noarch", found)
    world.build()
    message = world.fail(6, "--update", channels=[other.upstream.as_uri()])
    assert "tiny-data-1.0-0.conda" in message
    assert "other content" in message


def test_channel_that_is_not_there(world):
    with serving(world.root) as (url, _asked):
        assert "404" in world.fail(5, channels=[f"{url}/none"])
        assert "401" in world.fail(5, channels=[f"{url}/private/none"])
    assert "refused" in world.fail(5, channels=[f"{url}/gone"]).lower()


def test_damaged_repodata_upstream(world):
    (world.upstream / "noarch/repodata.json").write_bytes(b'{"packages": {')
    for name in ("repodata.json.zst", "repodata.json.bz2"):
        (world.upstream / "noarch" / name).unlink()
    world.fail(5)


def test_record_without_a_sha256(world):
    found = records(world.upstream, "noarch")
    del found["tiny-app-2.0-py_0.conda"]["sha256"]
    tiny.write_repodata(world.upstream / "noarch", found)
    assert "tiny-app" in world.fail(6)


def test_damaged_lock(world):
    world.build()
    (world.labels / "bank.lock").write_text("version: 7\n- what")
    assert "--update" in world.fail(6)
    world.build("--update")


def test_manifest_that_was_edited_is_replaced(world):
    world.build()
    path = world.channel / "repack/manifest.json"
    path.write_text(path.read_text().replace('"version": "1"', '"version": "one"'))
    outcome = world.build()
    assert outcome["release"] == 2
    assert json.loads(path.read_bytes())["version"] == "2"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize("size", ["24k", "48k", "96k", "200k"])
def test_full_disk_under_the_channels(world, size):
    world.build(packages=["tiny-data"])
    small = world.root / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", small], check=True)
    try:
        world.channels = small / "channels"
        world.write(packages=["tiny-data"], platforms={"linux-64": {}})
        code = world.repack("label", "bank")
        assert code in {0, 9}
        if code == 0:
            check(world.channel, ("noarch", "linux-64"))
            before = check(world.channel, ("noarch", "linux-64"))
            (small / "ballast").write_bytes(b"x" * (os.statvfs(small).f_bavail * 4096))
            message = world.fail(9, packages=["tiny-app"])
            assert "space" in message
            assert check(world.channel, ("noarch", "linux-64")) == before
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting takes root")
def test_read_only_channels(world):
    world.build()
    subprocess.run(["mount", "--bind", world.channels, world.channels], check=True)
    try:
        options = ["mount", "-o", "remount,ro,bind", world.channels]
        subprocess.run(options, check=True)
        message = world.fail(2, packages=["tiny-data"])
        assert "read-only" in message
    finally:
        subprocess.run(["umount", world.channels], check=True)


@pytest.mark.slow
def test_a_hundred_exits_are_clean(world):
    """py-rattler's runtime may crash at exit; repack leaves deliberately."""
    world.build()
    codes = set()
    lock = threading.Lock()

    def go() -> None:
        for _ in range(50):
            process = start(world, "--json")
            out, _err = process.communicate()
            with lock:
                codes.add((process.returncode, bool(json.loads(out)["changed"])))

    go()
    go()
    assert codes == {(0, False)}
