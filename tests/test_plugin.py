"""`conda repack`, in a real conda that finds the plugin as an installed one."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

from tests.clients import conda

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def plugged(tmp_path_factory):
    """Run conda with repack and click beside it, and the entry point of our pyproject.toml."""
    client = conda("current")
    if isinstance(client, str):
        pytest.skip(client)
    said = subprocess.run(
        [client.path, "info", "--json"], capture_output=True, text=True, check=True
    )
    about = json.loads(said.stdout)
    extra = tmp_path_factory.mktemp("site")
    for name, folder in {"repack": ROOT / "repack", "click": Path(click.__file__).parent}.items():
        (extra / name).symlink_to(folder, target_is_directory=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = extra / "repack-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: repack\nVersion: 0\n")
    lines = [f"{key} = {value}" for key, value in project["entry-points"]["conda"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[conda]", *lines, ""]))
    path = os.pathsep.join([str(Path(about["conda_location"]).parent), str(extra)])

    def run(*words):
        return subprocess.run(
            [about["sys.executable"], "-m", "conda", *words],
            env={**os.environ, "PYTHONPATH": path, "HOME": str(extra), "NO_COLOR": "1"},
            cwd=extra,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_conda_lists_repack(plugged):
    done = plugged("--help")
    assert done.returncode == 0, done.stderr
    assert "Make offline conda channels." in done.stdout


def test_help_and_results_are_those_of_repack(plugged):
    assert plugged("repack", "--help").stdout.startswith("Usage: repack [OPTIONS] COMMAND")
    done = plugged("repack", "schema", "--json")
    assert json.loads(done.stdout)["title"] == "repack label"


def test_options_and_exit_codes_go_through(plugged):
    done = plugged("repack", "diff", "nosuch", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "usage"
    assert plugged("repack", "frobnicate").returncode == 2
