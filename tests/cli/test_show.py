"""A release in the terminal: show, tree, why, and the report as Markdown."""

from __future__ import annotations

import json

import pytest

from repack.cli.main import run
from tests.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("wörld"))
    world.build(description="Risk | <b>desk</b>")
    return world


@pytest.fixture
def say(world, capsys):
    def run_it(*words, code=0):
        assert run([*words, "--channels-dir", str(world.channels)]) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    return run_it


def test_show_lists_every_package(world, say):
    text = say("show", "bank")
    assert text.startswith("bank: release 1, ")
    for name in ("tiny-app", "tiny-lib", "python", "pip", "linux-64/0", "win-64/0", "__glibc 2.17"):
        assert name in text
    answer = json.loads(say("show", "bank", "--json"))
    assert answer["release"] == 1
    assert {p["name"] for p in answer["packages"]} >= {"tiny-app", "bank"}
    assert set(answer["platforms"]) == {"linux-64", "win-64"}


def test_tree_draws_each_package_of_each_platform(say):
    text = say("tree", "bank", "-p", "linux-64")
    lines = text.splitlines()
    assert lines[0] == "bank 1, linux-64"
    assert any(line.endswith("tiny-lib 1!2.0+x") and "─" in line for line in lines)
    assert "win-64" not in text
    answer = json.loads(say("tree", "bank", "--json"))
    assert answer["win-64"]["tiny-app"] == ["python", "tiny-data", "tiny-lib"]
    assert "it has linux-64, win-64" in say("tree", "bank", "-p", "osx-64", code=2)


def test_why_names_the_way(say):
    assert "tiny-app -> tiny-lib" in say("why", "bank", "tiny-lib")
    assert "needed by " in say("why", "bank", "tiny-lib")
    assert "is asked for by the label" in say("why", "bank", "tiny-app")
    answer = json.loads(say("why", "bank", "tiny-lib", "--json"))
    assert answer["why"]["linux-64"] == ["tiny-app", "tiny-lib"]
    assert "did you mean 'tiny-lib'?" in say("why", "bank", "tiny-lob", code=2)


def test_markdown_cannot_be_led_out_of_its_table(say):
    text = say("report", "bank", "--format", "md")
    assert text.startswith("# bank, release 1\n\nRisk \\| \\<b\\>desk\\</b\\>\n")
    rows = [line for line in text.splitlines() if line.startswith("| tiny-app |")]
    assert len(rows) == 1
    assert rows[0].count(" | ") == 6


def test_what_is_not_there_is_said(say):
    for words in (["show", "bank", "--release", "7"], ["tree", "nobody"], ["why", "nobody", "x"]):
        assert "hint: " in say(*words, code=2)
