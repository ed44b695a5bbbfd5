"""Environments that conda fills, where py-rattler does not run."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repack.cli.main import run
from repack.prefix.sandbox import network_cutter
from tests import clients
from tests.agent import bank as banks
from tests.world import records

CONDA = {"engine": "conda"}
ROOT = Path(__file__).parent.parent.parent

SOAK = (pytest.mark.slow, pytest.mark.soak)


@pytest.fixture(params=["current", "old"])
def served(request, tmp_path, monkeypatch):
    """A target with a conda of one age, and releases that it can read."""
    found = clients.need(request.param)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONDA_EXE", found.path)
    kind = {"package_format": "tar.bz2"} if request.param == "old" else {}
    banks.build(banks.world(tmp_path, **kind), tmp_path / "media")
    bank = banks.Bank(tmp_path, {"install": CONDA})
    bank.configure()
    return bank


def offline(bank, command, *arguments, before=""):
    """Run the agent in a process without network; ``before`` is run first in it."""
    script = f"{before}\nfrom repack.cli.main import main\nmain()"
    words = [*network_cutter(), sys.executable, "-c", script, "target", command, *arguments]
    done = subprocess.run(
        [*words, "--config", str(bank.config), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def install(bank, release, *, before=""):
    return offline(bank, "install", "--src-dir", str(bank.medium(release)), before=before)


def test_conda_fills_and_everything_else_is_as_ever(served):
    code, said = install(served, 1)
    assert (code, served.in_use) == (0, 1), said
    assert offline(served, "check")[0] == 0
    assert install(served, 1)[1]["did"] == "unchanged"
    assert install(served, 2)[0] == 0
    assert served.in_use == 2
    assert offline(served, "rollback")[0] == 0
    assert served.in_use == 1
    left = {path.name for path in served.folder.rglob("*") if path.name in {"pkgs", "incoming"}}
    assert not left


def test_what_conda_writes_down_is_the_channels_record(served):
    assert install(served, 1)[0] == 0
    channel = served.medium(1) / "bank"
    known = {**records(channel, "noarch"), **records(channel, "linux-64")}
    metas = [
        json.loads(path.read_bytes())
        for path in (served.folder / "current/conda-meta").glob("*.json")
    ]
    assert metas
    for meta in metas:
        record = known[meta["fn"]]
        assert {key: meta[key] for key in record} == record


def test_a_file_changed_by_hand_is_found(served):
    assert install(served, 1)[0] == 0
    (served.folder / "current/share/tiny/ä b.txt").unlink()
    code, said = offline(served, "check")
    assert (code, said["error"]) == (6, "changed-by-hand")
    assert "share/tiny/ä b.txt is missing" in said["got"]


def test_without_py_rattler_conda_does_it_by_itself(served):
    served.settings = {}
    served.configure()
    gone = "import sys; sys.modules['rattler'] = None"
    code, said = install(served, 1, before=gone)
    assert (code, served.in_use) == (0, 1), said
    assert "/incoming/conda/pkgs/" in next(meta_of(served, "tiny-data"))["link"]["source"]
    served.configure(install={"engine": "rattler"})
    code, said = install(served, 2, before=gone)
    assert (code, said["error"]) == (2, "place")
    assert "engine" in said["hint"]


def test_what_an_earlier_conda_left_is_not_in_the_way(served):
    left = served.folder / "state/incoming/conda/home"
    left.mkdir(parents=True)
    assert install(served, 1)[0] == 0
    assert (served.in_use, left.exists()) == (1, False)


def test_from_one_engine_to_the_other_and_back(served):
    for release, engine in ((1, "rattler"), (2, "conda"), (3, "rattler")):
        served.configure(install={"engine": engine})
        code, said = install(served, release)
        assert (code, served.in_use) == (0, release), said
        assert offline(served, "check")[0] == 0


@pytest.mark.parametrize(
    "times", [pytest.param(4, id="few"), pytest.param(60, id="many", marks=SOAK)]
)
def test_killed_while_conda_works(served, times):
    """conda ends with the agent, and the next one finds a target that is free."""
    assert install(served, 1)[0] == 0
    words = [sys.executable, "-m", "repack", "target", "install", "--config", str(served.config)]
    words += ["--src-dir", str(served.medium(2))]
    saved = shutil.copytree(served.opt, served.root / "saved", symlinks=True)
    began = time.monotonic()
    assert install(served, 2)[0] == 0
    whole = time.monotonic() - began
    chance = random.Random(6)
    for _ in range(times):
        shutil.rmtree(served.opt)
        shutil.copytree(saved, served.opt, symlinks=True)
        with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)}) as agent:
            time.sleep(chance.uniform(0.2, 1) * whole)
            agent.kill()
        assert served.in_use in {1, 2}
        code, said = install(served, 2)
        assert (code, served.in_use) == (0, 2), said
        assert sorted(path.name for path in (served.folder / "releases").iterdir()) == ["1", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="what outlives an agent is held by a lock")
def test_what_outlives_a_killed_agent_is_waited_for(bank, monkeypatch):
    """A conda that started another program, which nobody ends."""
    begun = bank.root / "begun"
    monkeypatch.setenv("CONDA_EXE", script(bank.root / "conda", f"touch {begun}; sleep 4; true"))
    bank.configure(install=CONDA)
    words = [sys.executable, "-m", "repack", "target", "install", "--config", str(bank.config)]
    words += ["--src-dir", str(bank.medium(1))]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)}) as agent:
        while not begun.exists():
            assert agent.poll() is None
            time.sleep(0.02)
        agent.kill()
    bank.configure()
    code, said = bank.install(1)
    assert (code, said["error"]) == (8, "busy")
    time.sleep(2.5)
    assert bank.install(1)[0] == 0
    assert bank.in_use == 1


def meta_of(bank, name):
    for path in (bank.folder / "current/conda-meta").glob(f"{name}-[0-9]*.json"):
        yield json.loads(path.read_bytes())


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(os.name == "nt", reason="a shell script as conda")
@pytest.mark.parametrize(
    ("does", "code", "error"),
    [
        ("echo 'OSError: [Errno 28] No space left on device'; exit 1", 60, "target-space"),
        ("echo 'the archive is odd'; exit 1", 8, "content-missing"),
        ("exit 0", 8, "content-missing"),
    ],
)
def test_what_conda_says_has_the_codes_of_the_table(bank, monkeypatch, does, code, error):
    assert bank.install(1)[0] == 0
    bank.configure(install=CONDA)
    monkeypatch.setenv("CONDA_EXE", script(bank.root / "conda", does))
    got, said = bank.install(2)
    assert (got, said["error"]) == (code, error), said
    assert (bank.in_use, bank.journal["phase"]) == (1, "idle")
    assert [path.name for path in (bank.folder / "releases").iterdir()] == ["1"]


def test_a_package_that_is_another_is_found(bank, monkeypatch):
    """A conda that installs something else of the same name."""
    text = (
        'while [ "$1" != --prefix ]; do shift; done; meta="$2/conda-meta"; mkdir -p "$meta"\n'
        'echo "{\\"name\\": \\"pip\\", \\"md5\\": \\"0\\"}" > "$meta/pip-24.0-pyh0_0.json"'
    )
    bank.configure(install=CONDA)
    monkeypatch.setenv("CONDA_EXE", script(bank.root / "conda", text))
    code, said = bank.install(2)
    assert (code, said["error"]) == (8, "content-missing")
    assert "pip-24.0-pyh0_0 is another package of that name" in said["got"]


def test_no_conda_at_all(bank, monkeypatch):
    bank.configure(install=CONDA)
    monkeypatch.delenv("CONDA_EXE", raising=False)
    monkeypatch.setenv("PATH", str(bank.root))
    code, said = bank.install(1)
    assert (code, said["error"], said["what"]) == (2, "place", "there is no conda here")
    assert run(["target", "status", "--config", str(bank.config)]) == 0
