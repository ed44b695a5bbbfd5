"""The packed environment goes where the packages go: media, shares, deltas, the history, the store."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile

import pytest

from repack.cli.main import run
from tests import tiny
from tests.installer.bare import BUSYBOX, BWRAP, bare_root, run_bare
from tests.world import World

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not (BUSYBOX and BWRAP), reason="takes busybox and bubblewrap"
)


def bare(version: str) -> tiny.Package:
    text = f"#!/bin/sh\necho {tiny.PLACEHOLDER} {version}\n"
    return tiny.Package("bare", version, files={"bin/hello": text})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A label with two releases."""
    made = World(tmp_path_factory.mktemp("wörld a"))
    for version in ("1.0", "2.0"):
        made.serve(*tiny.PACKAGES, bare(version))
        made.build("--update", packages=["bare"], platforms={"linux-64": {}}, bootstrap="repack")
    return made


def archive(number: int) -> str:
    return f"bootstrap/linux-64/bank-{number}-environment.tar.gz"


def check(channel, tmp_path, number: int) -> None:
    """It is sound, and its own environment comes out of it on a bare machine."""
    assert run(["verify", str(channel)]) == 0
    assert (channel / archive(number)).is_file()
    root = bare_root(tmp_path / "root")
    words = ("sh", "/mnt/install.sh", "--prefix", "/home/env")
    done = run_bare(root, *words, shown={"/mnt": channel})
    assert done.returncode == 0, done.stderr
    said = run_bare(root, "/home/env/bin/hello").stdout
    assert said == f"/home/env {number}.0\n"


def test_a_medium_carries_it(world, tmp_path):
    stick = tmp_path / "sti ck"
    assert world.repack("medium", "bank", str(stick), "--labels-dir", str(world.labels)) == 0
    check(stick / "bank", tmp_path, 2)


def test_a_share_gets_it(world, tmp_path):
    share = tmp_path / "share"
    assert run(["sync", "bank", str(share), "--channels-dir", str(world.channels)]) == 0
    check(share, tmp_path, 2)


def test_a_restored_release_has_its_own(world, tmp_path):
    assert world.repack("restore", "bank", "1") == 0
    check(world.channel, tmp_path, 1)
    assert not (world.channel / archive(2)).exists()
    assert world.repack("restore", "bank", "2") == 0
    assert not (world.channel / archive(1)).exists()


def test_the_store_keeps_it_and_a_damaged_one_is_put_back(world):
    before = hashlib.sha256((world.channel / archive(2)).read_bytes()).hexdigest()
    folders = ["--channels-dir", str(world.channels), "--store", str(world.store)]
    assert run(["store", "gc", *folders]) == 0
    (world.channel / archive(2)).unlink()
    assert world.build()["release"] == 2
    assert hashlib.sha256((world.channel / archive(2)).read_bytes()).hexdigest() == before


def test_a_dry_run_does_not_speak_of_it(world, capsys):
    assert world.repack("label", "bank", "--dry-run", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["changed"], said["removed"]) == (False, [])


def test_another_key_is_another_release(tmp_path):
    made = World(tmp_path / "w")
    made.build(packages=["tiny-data"], platforms={"linux-64": {}, "win-64": {}})
    assert not (made.channel / "bootstrap").exists()
    assert made.build(bootstrap="repack")["release"] == 2
    assert [p.name for p in (made.channel / "bootstrap").iterdir()] == ["linux-64"]
    assert made.build(bootstrap="none")["release"] == 3
    assert not (made.channel / "bootstrap").exists()


@pytest.fixture
def first(world, tmp_path):
    """The channel as release 1 left it."""
    assert world.repack("restore", "bank", "1") == 0
    copy = shutil.copytree(world.channel, tmp_path / "bank")
    assert world.repack("restore", "bank", "2") == 0
    return copy


def delta(world, file, *words):
    folders = ["--channels-dir", str(world.channels), "--store", str(world.store)]
    words = ("create", "bank", "--from", "1", "--to", "2", "-o", str(file), *words)
    assert run(["delta", *words, *folders, "--labels-dir", str(world.labels)]) == 0
    return file


def test_a_delta_carries_it(world, first, tmp_path):
    file = delta(world, tmp_path / "a.delta.tar.zst")
    assert run(["delta", "apply", str(first), str(file)]) == 0
    check(first, tmp_path, 2)
    assert not (first / archive(1)).exists()


def test_a_plain_delta_carries_it(world, first, tmp_path):
    file = delta(world, tmp_path / "a.tar", "--plain")
    with tarfile.open(file) as tar:
        tar.extractall(first, filter="data")
    tidy = [sys.executable, "-I", str(first / "repack/verify.py"), str(first), "--tidy"]
    assert subprocess.run(tidy, check=False, capture_output=True).returncode == 0
    check(first, tmp_path, 2)
    assert not (first / archive(1)).exists()
