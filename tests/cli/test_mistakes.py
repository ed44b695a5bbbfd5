"""Mistakes that beginners make: each hint, followed to the letter, works."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from repack.cli.main import run
from tests.world import World

# A key of the label as it was written, and the line that it is on: the hint replaces what is wrong.
VALUES = [
    ("kep_releases: 3", "kep_releases"),
    ("health_chek: [python, -V]", "health_chek"),
    ("after_install: rebot", "rebot"),
    ("package_format: tarbz2", "tarbz2"),
    ("license: requird", "requird"),
    ("keep_releases: '3'", "'3'"),
    ("add_pip: yes", "yes"),
    ("strict: 'true'", "'true'"),
]
LISTS = ["constraints: pip", "health_check: python -V", 'health_check: python -c "import sys"']


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path / "wörk dir")
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("REPACK_STORE", str(world.store))
    monkeypatch.setenv("REPACK_CHANNELS_DIR", str(world.channels))
    return world


def write(world, line):
    text = (f"label: bank\nchannels: [{world.upstream.as_uri()!r}]\npackages: [tiny-app]\n"
            f"platforms: {{linux-64: {{}}}}\n{line}\n")  # fmt: skip
    (world.labels / "bank.yaml").write_text(text, encoding="utf-8")


def answer(capsys, *words):
    code = run([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("line", "wrong"), VALUES)
def test_a_mistyped_key_or_value(world, capsys, line, wrong):
    write(world, line)
    code, told = answer(capsys, "label", "bank", "--dry-run")
    assert code == 3, told
    hint = told["problems"][0]["hint"]
    meant = re.search("did you mean '(.*)'", hint)
    right = meant[1] if meant else "true" if "true or false" in hint else wrong.strip("'")
    write(world, line.replace(wrong, right))
    assert answer(capsys, "label", "bank", "--dry-run")[0] == 0


@pytest.mark.parametrize("line", LISTS)
def test_a_text_in_place_of_a_list(world, capsys, line):
    write(world, line)
    code, told = answer(capsys, "label", "bank")
    assert code == 3
    right = told["problems"][0]["hint"].removeprefix("write a list: ")
    write(world, f"{line.partition(':')[0]}: {right}")
    assert answer(capsys, "label", "bank")[0] == 0


@pytest.mark.parametrize("words", ["lable bank", "hstory bank", "key shwo bank", "label bnak"])
def test_a_mistyped_word(world, capsys, words):
    write(world, "")
    assert run(["label", "bank"]) == 0
    assert run(["key", "new", "bank"]) == 0
    capsys.readouterr()
    code, told = answer(capsys, *words.split())
    assert code == 2
    meant = re.search("did you mean '(.*)'", json.dumps(told))[1]
    wrong = re.search("'(.*?)'", told["what"])[1]
    assert answer(capsys, *words.replace(wrong, meant).split())[0] == 0


def test_a_channel_that_ends_in_a_platform(world, capsys):
    url = world.upstream.as_uri()
    words = ["label", "x", "-c", f"{url}/linux-64", "tiny-lib"]
    code, told = answer(capsys, *words)
    assert code == 3
    right = told["problems"][0]["hint"].rpartition(": ")[2]
    assert url.startswith(right)
    words[3] = url
    assert answer(capsys, *words)[0] == 0


def test_keys_that_are_missing(world, capsys):
    write(world, "signing: {keys: keys/bank}")
    assert run(["key", "new", "bank", "--role", "ci"]) == 0
    capsys.readouterr()
    code, told = answer(capsys, "label", "bank")
    assert code == 6
    command = told["hint"].partition(": ")[2]
    assert run(shlex.split(command)[1:]) == 0
    capsys.readouterr()
    assert answer(capsys, "label", "bank")[0] == 0
