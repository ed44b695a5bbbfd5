"""Every command of the tutorial and the how-tos, run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repack.prefix.sandbox import network_cutter
from scripts import upstream, walkthrough
from tests.clients import conda

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh ?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not network_cutter(), reason="this system cannot cut a process's network"),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A working folder as after the tutorial's second step, and what a shell there needs."""
    folder = tmp_path_factory.mktemp("a clone")
    channels = folder / ".demo" / "upstreams"
    shutil.copytree(upstream.cached(walkthrough.REQUEST), channels / "upstream")
    walkthrough.make_vendor(channels / "prometeia")
    tools = folder / "tools"
    tools.mkdir()
    # Not a link: a Python that is started by a link does not find its virtual environment.
    (tools / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tools / "python3").chmod(0o755)
    (tools / "repack").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m repack "$@"\n')
    (tools / "repack").chmod(0o755)
    shell = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "REPACK_STORE": str(folder / "store"),
    }
    return folder, {**os.environ, **shell}


def blocks(page):
    return BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


def run(clone, commands, **more):
    folder, variables = clone
    done = subprocess.run(
        ["sh", "-euc", commands],
        cwd=folder,
        env={**variables, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    return done.stdout


def test_the_tutorial_runs_as_written(clone):
    client = conda("current")
    said = []
    for kind, commands in blocks("tutorial.md"):
        assert kind in {"", "once", "conda"}
        if kind == "once":  # `test_demo` does these
            continue
        if kind == "conda":
            if isinstance(client, str):
                continue
            said.append(run(clone, commands, CONDA_EXE=client.path))
        else:
            said.append(run(clone, commands))
    text = "".join(said)
    assert "first: release 1 is unchanged" in text
    assert "development keys" in text
    assert '{"threshold": 0.04}' in text
    assert "release 1 in use" in text
    assert "first is release 1 again" in text
    assert text.count("pytho 4.2.0, pandas") == (1 if isinstance(client, str) else 2)


@pytest.mark.parametrize("page", ["administrator", "auditor", "support", "release-engineer"])
def test_the_how_tos_run_as_written_after_the_tutorial(clone, page):
    client = conda("current")
    ran = 0
    for kind, commands in blocks(f"howto/{page}.md"):
        assert kind in {"", "conda"}
        if kind == "conda" and isinstance(client, str):
            continue
        home = {} if isinstance(client, str) else {"CONDA_EXE": client.path}
        run(clone, commands, **home)
        ran += 1
    assert ran
