"""``repack init``: what it writes is built by the command that it names."""

from __future__ import annotations

import json

import pytest

from repack.cli.main import run
from tests import tiny
from tests.environments import Environment
from tests.world import World


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path / "wörk dir")
    world.serve(*tiny.PACKAGES, tiny.Package("needy", "1.0", ("__glibc >=2.28", "tiny-lib")))
    monkeypatch.chdir(world.root)
    for name in ("LABELS_DIR", "CHANNELS_DIR"):
        monkeypatch.delenv(f"REPACK_{name}", raising=False)
    monkeypatch.setenv("REPACK_STORE", str(world.store))
    return world


def answer(capsys, code, *words):
    got = run([*words, "--json"])
    said = capsys.readouterr()
    assert got == code, said.err
    return json.loads(said.out)


def test_a_dry_run_writes_nothing(world, capsys):
    made = answer(capsys, 0, "init", "bank", "-c", world.upstream.as_uri(), "tiny-lib",
                  "-p", "linux-64", "-p", "win-64=__win=10", "--dry-run")  # fmt: skip
    assert not (world.root / "labels").exists() or not list((world.root / "labels").iterdir())
    assert made["written"] is False
    assert '  win-64: {__win: "10"}' in made["text"]


def test_what_is_not_the_profiles_fault_is_an_error(world, capsys):
    told = answer(capsys, 4, "init", "bad", "-c", str(world.upstream), "tiny-ap", "-p", "linux-64")
    assert told["problems"][0]["hint"] == "did you mean 'tiny-app'?"


def test_the_profile_is_the_one_that_the_packages_need(world, capsys):
    made = answer(capsys, 0, "init", "bank", "-c", world.upstream.as_uri(), "needy", "pip >=20",
                  "-p", "linux-64")  # fmt: skip
    text = (world.root / "labels" / "bank.yaml").read_text(encoding="utf-8")
    assert made["platforms"] == {"linux-64": {"__glibc": "2.28"}}
    assert '  linux-64: {__glibc: "2.28"}\n' in text
    assert "needy 1.0 needs __glibc >=2.28, the profile has 2.17" in text
    assert answer(capsys, 0, "label", "bank")["release"] == 1


def test_every_proposal_in_the_comments_can_be_taken(world, capsys):
    (world.root / "data" / "models").mkdir(parents=True)
    (world.root / "data" / "models" / "m.bin").write_bytes(b"m")
    answer(capsys, 0, "init", "bank", "-c", str(world.upstream), "tiny-app")
    answer(capsys, 0, "key", "new", "bank")
    path = world.root / "labels" / "bank.yaml"
    keys = ("description", "health_check", "bundles", "signing")
    lines = path.read_text(encoding="utf-8").splitlines()
    taken = [line.removeprefix("# ") if line.startswith(tuple(f"# {k}:" for k in keys)) else line
             for line in lines]  # fmt: skip
    assert sum(a != b for a, b in zip(lines, taken, strict=True)) == 4
    path.write_text("\n".join(taken), encoding="utf-8")
    assert answer(capsys, 0, "label", "bank")["release"] == 1


def test_a_file_is_not_overwritten(world, capsys):
    words = ["init", "bank", "-c", str(world.upstream), "tiny-lib"]
    answer(capsys, 0, *words)
    told = answer(capsys, 2, *words)
    assert "has a file already" in told["what"]
    assert answer(capsys, 0, *words, "--force")["written"] is True


def test_a_secret_is_never_written(world, capsys):
    told = answer(capsys, 2, "init", "bank", "-c", "https://u:hunter2-word@host/ch", "tiny-lib")
    assert "hunter2-word" not in json.dumps(told)
    assert "${BANK_TOKEN}" in told["hint"]


@pytest.mark.parametrize("words", [["init", "bank"], ["init", "bank", "-c", "URL"]])
def test_what_is_missing_is_said(world, capsys, words):
    words = [str(world.upstream) if word == "URL" else word for word in words]
    assert "repack init bank -c CHANNEL PACKAGE…" in answer(capsys, 2, *words)["hint"]


def test_from_an_environment_file(world, capsys):
    file = world.root / "environment.yml"
    file.write_text(f"channels: [{world.upstream.as_uri()!r}]\ndependencies: [tiny-lib]\n")
    answer(capsys, 0, "init", "bank", "--from", "environment.yml")
    assert 'from: "../environment.yml"' in (world.root / "labels/bank.yaml").read_text()
    assert answer(capsys, 0, "label", "bank")["release"] == 1


def test_channels_and_platforms_of_the_project(world, capsys):
    (world.root / "repack.toml").write_text(
        f"channels = [{json.dumps(world.upstream.as_uri())}]\nplatforms = ['win-64=__win=10']\n"
    )
    made = answer(capsys, 0, "init", "bank", "tiny-lib")
    assert made["platforms"] == {"win-64": {"__win": "10"}}


def test_from_a_prepared_environment(world, capsys):
    environment = Environment(world.root / "desk", "current")
    archive = tiny.archive(tiny.PACKAGES[2], environment.cache, "conda")
    index = json.loads((world.upstream / "linux-64/repodata.json").read_text())
    row = index["packages.conda"][archive.name]
    row |= {"fn": archive.name, "url": f"{world.upstream.as_uri()}/linux-64/{archive.name}"}
    row |= {"channel": world.upstream.as_uri(), "files": []}
    (environment.prefix / "conda-meta" / f"{archive.stem}.json").write_text(json.dumps(row))
    info = environment.info(channels=[f"{world.upstream.as_uri()}/linux-64"])
    answer(capsys, 0, "init", "bank", "--env", str(info))
    assert '  - "tiny-lib ==1!2.0+x"' in (world.root / "labels/bank.yaml").read_text()
    assert answer(capsys, 0, "label", "bank")["release"] == 1
