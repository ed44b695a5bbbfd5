"""A fresh machine, made of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts import bare, programs
from tests import reporting

LOOK = """
import importlib.util, json, os, pathlib, sys
print(json.dumps({
    "home": os.listdir(os.environ["HOME"]), "local": os.listdir("/usr/local"),
    "user": os.geteuid(), "click": importlib.util.find_spec("click") is None,
    "path": sys.path, "names": sorted(os.environ), "clone": os.listdir(),
}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(bare, "FOLDER", tmp_path)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bare.py", *arguments])
        code = bare.main()
        if code == bare.UNAVAILABLE:
            pytest.skip("needs git, bubblewrap and a Python in /usr")
        return code, capfd.readouterr().out

    return call


@pytest.mark.parametrize("root", [False, True])
def test_nothing_of_this_machine_is_seen(run, monkeypatch, root):
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    code, text = run(*(["--root"] * root), "python3", "-c", LOOK)
    seen = json.loads(text)
    assert code == 0
    assert seen["home"] == ["repack"]
    assert seen["local"] == []
    assert seen["click"]
    assert (seen["user"] == 0) == root
    assert "PYTHONPATH" not in seen["names"]
    assert {"README.md", "scripts", "tests"} <= set(seen["clone"])
    assert ".test" not in seen["clone"]


def test_the_code_of_the_command_is_handed_on(run):
    assert run("sh", "-c", "exit 7")[0] == 7


def test_a_machine_that_cannot_says_so(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(bare, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bare.py", "true"])
    assert bare.main() == 69
    assert "no bare root here" in capfd.readouterr().err


def test_missing_programs_are_named_as_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(programs.shutil, "which", lambda name, path: name != "rsync" or None)
    assert programs.missing() == ["rsync"]


def test_progress_says_how_far_and_how_long():
    assert reporting.progress(50, 200, 0, 30) == (
        "50 of 200 tests, none failed, 30 s, about 2 min left"
    )
    assert reporting.progress(50, 0, 2, 30).startswith("50 of 50 tests, 2 failed")


def test_the_end_says_what_was_left_out_and_how_to_run_it():
    lines = reporting.summary(
        Counter({"no rsync here": 3}), Counter({"soak": 2, "": 1}), ["rsync", "zsh"]
    )
    assert lines == [
        "    3  no rsync here",
        "    1  left out by the command line",
        "    2  soak: python3 scripts/test.py -m soak",
        "on Debian and as root: apt-get install rsync zsh",
    ]


def test_a_run_in_processes_reports(tmp_path):
    """What workers skip and leave out arrives; lines come while tests run."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow\n  soak\n")
    (tmp_path / "conftest.py").write_text(
        "from tests import reporting\nreporting.EVERY = 0\npytest_plugins = ['tests.reporting']\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_a(): pass\n"
        "def test_b(): pytest.skip('no moon here')\n"
        "@pytest.mark.soak\ndef test_c(): pass\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "-m",
        "not soak",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 tests, none failed" in done.stdout
    assert "    1  no moon here" in done.stdout
    assert "    1  soak: python3 scripts/test.py -m soak" in done.stdout
