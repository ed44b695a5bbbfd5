"""``agent: true``: the agent comes from the channel that it installs from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from repack.archive.package import with_content_build
from repack.label.agent import NEEDS, agent_package, own_sources
from scripts import upstream
from tests import tiny
from tests.agent import bank as banks
from tests.world import records

STANDINS = tuple(
    tiny.Package(spec.split()[0], spec.split("=")[1].split(",")[0], (), "noarch", "generic")
    for spec in NEEDS
    if not spec.startswith("python ")
)


def test_the_package_is_the_program():
    sources = own_sources()
    assert {"__init__.py", "cli/target.py", "shipped/install.sh", "shipped/verify.py"} <= set(
        sources
    )
    assert not any("__pycache__" in path for path in sources)
    spec = with_content_build(agent_package("1.0", sources))
    assert (spec.noarch, spec.name) == ("python", "repack")
    assert spec.dist == with_content_build(agent_package("1.0", own_sources())).dist


def test_the_recipe_brings_what_the_agent_needs():
    text = (Path(__file__).parents[2] / "recipe/meta.yaml").read_text()
    run = text.partition("  run:\n")[2].partition("\n\n")[0]
    names = {line.strip(" -").split()[0] for line in run.splitlines()}
    assert {spec.split()[0] for spec in NEEDS} <= names


def test_a_label_with_an_agent_ships_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = banks.world(tmp_path, agent=True, platforms={"linux-64": {}})
    python = tiny.Package("python", "3.11.9", files=tiny.PACKAGES[0].files)
    made.serve(python, *tiny.PACKAGES[1:], *STANDINS)
    outcome = made.build(packages=["tiny-data"])
    assert outcome["release"] == 1
    found = {record["name"]: record for record in records(made.channel, "noarch").values()}
    assert set(found["repack"]["depends"]) == set(NEEDS)
    meta = next(r for r in records(made.channel, "linux-64").values() if r["name"] == "bank")
    assert any(spec.startswith("repack ") for spec in meta["depends"])
    assert not made.build()["changed"]
    assert made.build(packages=["tiny-data", "pip"])["release"] == 2
    again = {record["name"]: record for record in records(made.channel, "noarch").values()}
    assert again["repack"]["sha256"] == found["repack"]["sha256"]


def test_channels_without_what_the_agent_needs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = banks.world(tmp_path, agent=True, platforms={"linux-64": {}})
    assert "python >=3.11" in made.fail(4, packages=["tiny-data"])


AGENT = upstream.Request(
    requirements=tuple(spec.replace(" ", "") for spec in NEEDS if not spec.startswith("python ")),
    subdirs=("linux-64",),
)


@pytest.mark.slow
def test_the_whole_way_with_the_agent_from_the_channel(tmp_path, monkeypatch):
    """Without network: 1, run, 2, the health check fails, back to 1, 3, rollback by hand."""
    monkeypatch.chdir(tmp_path)
    made = banks.world(tmp_path, agent=True, platforms={"linux-64": {"__glibc": "2.28"}})
    made.label["channels"] = [upstream.cached(AGENT).as_uri()]
    media = tmp_path / "media"
    for number in (1, 2, 3):
        made.build(packages=["click"], **banks.bump(number))
        banks.keep(made, media, number)
    bank = banks.Bank(tmp_path)
    assert bank.install(1)[0] == 0
    agent = tmp_path / "agent"
    # what `conda create --offline` does with the channel; the agent then runs from there
    bank.configure(storage={"root": str(agent)})
    assert bank.install(1)[0] == 0
    bank.configure()
    program = agent / "bank/current/bin/repack"
    cut = ["unshare", "--net"]
    if subprocess.run([*cut, "true"], capture_output=True, check=False).returncode:
        cut = []

    def call(command, *arguments):
        done = subprocess.run(
            [
                *cut,
                str(program),
                "target",
                command,
                *arguments,
                "--json",
                "--config",
                str(bank.config),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            cwd=tmp_path,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    def install(number):
        return call("install", "--src-dir", str(media / str(number)))

    assert call("status")[1]["current"] == 1
    manifest = "share/repack/bank/manifest.json"
    bank.configure(health={"command": ["sh", "-c", f'! grep -q \'"version": "2"\' {manifest}']})
    assert install(2)[0] == 110
    assert call("status")[1]["in_use"] == 1
    assert install(3)[0] == 0
    assert call("status")[1]["in_use"] == 3
    assert call("rollback")[0] == 0
    assert call("status")[1]["in_use"] == 1
    assert call("check")[0] == 0
    assert (bank.folder / "current").readlink().name == "1"
