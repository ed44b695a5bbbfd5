"""A customer ran his own ``conda index`` over the folder: everybody who checks it says so."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys

import pytest

from repack.cli.main import run
from tests.clients import environment
from tests.world import World, snapshot

SAYS = "as after a `conda index`: conda 4.3"


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.build(packages=["tiny-app"])
    return world


def index(world: World) -> None:
    """What conda-index leaves: by itself where it is, else by hand what was seen of it (0.13)."""
    program = os.environ.get("CONDA_INDEX_EXE") or shutil.which("conda-index")
    if program:
        home = world.root / "home"
        home.mkdir()
        command = [program, str(world.channel)]
        subprocess.run(command, env=environment(home), check=True, capture_output=True)
        return
    for subdir in ("noarch", "linux-64", "win-64"):
        folder = world.channel / subdir
        (folder / "repodata.json.bz2").unlink()
        (folder / "repodata.json.zst").unlink()
        (folder / "repodata.json").write_bytes((folder / "repodata.json").read_bytes() + b"\n")
        (folder / "index.html").write_text("<html>")


def verify(world: World) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(["verify", str(world.channel)])
    return code, out.getvalue()


def by_hand(world: World, *command: str) -> subprocess.CompletedProcess:
    variables = environment(world.root / "nobody")
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_repack_verify_says_so(world):
    assert SAYS not in verify(world)[1]
    index(world)
    code, text = verify(world)
    assert code == 6
    assert SAYS in text
    assert "conda 4.3 reads no other" in text


def test_the_folder_s_own_checker_says_so(world):
    index(world)
    done = by_hand(world, sys.executable, str(world.channel / "repack/verify.py"))
    assert done.returncode == 6
    assert SAYS in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX script")
def test_install_sh_says_so(world):
    index(world)
    conda = world.root / "conda"
    conda.write_text("#!/bin/sh\necho conda 4.3.16\n")
    conda.chmod(0o755)
    command = ["sh", str(world.channel / "install.sh"), "--prefix", str(world.root / "env")]
    done = by_hand(world, *command, "--conda", str(conda))
    assert done.returncode == 6, done.stderr
    assert SAYS in done.stderr


def test_another_change_is_not_taken_for_it(world):
    path = world.channel / "noarch" / "repodata.json"
    path.write_bytes(path.read_bytes() + b"\n")
    code, text = verify(world)
    assert (code, SAYS in text) == (6, False)


class TestReindex:
    """``repack verify --reindex``: the same on a copy, compared and solved; the channel stays."""

    @staticmethod
    def reindex(world, *more: str) -> tuple[int, str]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = run(["verify", str(world.channel), "--reindex", *more])
        return code, out.getvalue()

    @staticmethod
    def program(world, monkeypatch, source: str) -> None:
        """A stand-in for conda-index, where what it does is the point."""
        path = world.root / "conda index"
        path.write_text(f"#!{sys.executable}\nimport json, pathlib, sys\n{source}")
        path.chmod(0o755)
        monkeypatch.setenv("CONDA_INDEX_EXE", str(path))

    def test_by_the_real_one_no_record_differs(self, world):
        if not (os.environ.get("CONDA_INDEX_EXE") or shutil.which("conda-index")):
            pytest.skip("no conda-index: put it on PATH or set CONDA_INDEX_EXE")
        before = snapshot(world.channel)
        code, text = self.reindex(world)
        assert code == 0, text
        assert "records are the same; solved again for linux-64, win-64" in text
        assert snapshot(world.channel) == before
        assert json.loads(self.reindex(world, "--json")[1])["reindexed"]["platforms"]

    def test_without_conda_index_it_says_so(self, world, monkeypatch):
        monkeypatch.setenv("CONDA_INDEX_EXE", "/nowhere/conda-index")
        code, text = self.reindex(world)
        assert code == 2
        assert "CONDA_INDEX_EXE" in text

    @pytest.mark.skipif(sys.platform == "win32", reason="a script stands for conda-index")
    def test_a_lost_hot_fix_is_found(self, world, monkeypatch):
        source = (
            'path = pathlib.Path(sys.argv[1], "noarch", "repodata.json")\n'
            "data = json.loads(path.read_text())\n"
            'data["packages.conda"]["tiny-app-2.0-py_0.conda"]["depends"].append("gone")\n'
            "path.write_text(json.dumps(data))\n"
        )
        self.program(world, monkeypatch, source)
        before = snapshot(world.channel)
        code, text = self.reindex(world)
        assert code == 7
        assert "noarch/tiny-app-2.0-py_0.conda: another depends" in text
        assert "linux-64: cannot be solved" in text
        assert snapshot(world.channel) == before

    @pytest.mark.skipif(sys.platform == "win32", reason="a script stands for conda-index")
    def test_a_conda_index_that_fails_is_told(self, world, monkeypatch):
        self.program(world, monkeypatch, "sys.exit('it is broken')\n")
        code, text = self.reindex(world)
        assert code == 7
        assert "it is broken" in text
