"""What stands in ``channels/`` of a clone beside the labels' folders confuses nobody."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from repack.cli.main import run
from tests.world import World, snapshot

ROOT = Path(__file__).parents[2]
README = ROOT / "channels" / "README.md"


@pytest.fixture
def world(tmp_path):
    """A world whose folder of channels is a clone's."""
    made = World(tmp_path)
    made.channels.mkdir()
    shutil.copy2(README, made.channels)
    return made


def said(capsys, *words):
    capsys.readouterr()
    assert run([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_readme_is_no_label(world, capsys):
    assert world.build("--prove", "solved")["release"] == 1
    assert not world.build("--prove", "solved")["changed"]
    folders = ("--channels-dir", world.channels)
    states = said(capsys, "labels", *folders, "--labels-dir", world.labels)
    assert "README" not in json.dumps(states)
    assert "bank" in json.dumps(states)
    assert "README" not in (world.channels / "index.html").read_text(encoding="utf-8")
    before = snapshot(world.channel)
    stored = said(capsys, "store", "list", "--store", world.store, *folders)
    assert "README" not in json.dumps(stored)
    swept = said(capsys, "store", "gc", "--store", world.store, *folders, "--grace", "0")
    assert "README" not in json.dumps(swept)
    assert snapshot(world.channel) == before
    assert not world.build("--prove", "solved")["changed"]
    assert (world.channels / "README.md").read_bytes() == README.read_bytes()


def test_git_keeps_the_readme_and_nothing_else(tmp_path):
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no clone, or git is missing")
    paths = ["channels/README.md", "channels/bank/index.html", "channels/index.html"]
    command = ["git", "check-ignore", "--no-index", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == paths[1:]
