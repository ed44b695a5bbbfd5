"""The README's first command, from a clean copy, in a path with a space and an umlaut."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import venvs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    target = tmp_path_factory.mktemp("a clone, für dich") / "repack"
    ours = {".git", ".demo", ".test", ".bench", ".store", "channels", "__pycache__", ".hypothesis"}

    def skip(_folder, names):
        return [name for name in names if name in ours or name.endswith("_cache")]

    return shutil.copytree(ROOT, target, ignore=skip)


@pytest.fixture(scope="module")
def first(clone):
    return run(clone)


def run(clone):
    # A fresh machine: nothing of this environment may help.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    kept["PATH"] = os.defpath
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    return subprocess.run(
        [python, "scripts/demo.py"],
        cwd=clone,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_builds_installs_and_uses_a_label(first, clone):
    assert first.returncode == 0, first.stderr
    assert "release 1 (made)" in first.stdout
    assert "pytho 4.2.0, pandas " in first.stdout
    channel = clone / ".demo" / "channels" / "halkbank"
    assert {"noarch", "linux-64", "win-64", "repack"} <= {path.name for path in channel.iterdir()}


@pytest.mark.slow
def test_the_hotfixes_reached_the_channel(first, clone):
    assert first.returncode == 0, first.stderr
    channel = clone / ".demo" / "channels" / "halkbank"
    records = [
        record
        for file in channel.glob("*/repodata.json")
        for record in json.loads(file.read_bytes())["packages.conda"].values()
    ]
    mended = {record["name"]: record["depends"] for record in records}
    assert "numpy <1.0" not in mended["pandas"]
    assert "urllib3 <1.0" not in mended["requests"]


@pytest.mark.slow
def test_a_second_run_finds_everything_done(first, clone):
    assert first.returncode == 0, first.stderr
    again = run(clone)
    assert again.returncode == 0, again.stderr
    assert "release 1 (unchanged, nothing done)" in again.stdout
    assert "(warm," in again.stdout


def test_an_environment_is_kept_until_its_sources_change(tmp_path, monkeypatch):
    made = []

    def create(folder, requirements, _size):
        made.append(requirements)
        venvs.python_in(folder).parent.mkdir(parents=True, exist_ok=True)
        venvs.python_in(folder).touch()

    monkeypatch.setattr(venvs, "_create", create)
    for group in ("demo", "demo", "dev"):
        assert venvs.ready(tmp_path / "venv", group) == venvs.python_in(tmp_path / "venv")
    assert len(made) == 2
    assert "packaging>=24" in made[1]
    assert any(wanted.startswith("pytest") for wanted in made[1])
