"""One store, several projects: a sweep in one takes nothing from another, nor guesses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from repack.cli.main import run
from tests.world import World, check

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tmp_path():
    """A folder that other users reach: pytest's own is root's alone, now or when it next starts."""
    with tempfile.TemporaryDirectory(prefix="repack-users-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def worlds(tmp_path):
    """Two projects with one store; of the first there are two releases, neither hard-linked."""
    first, second = World(tmp_path / "eins"), World(tmp_path / "zwei")
    second.store = first.store
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "model.bin").write_bytes(b"one")
    bundle = {"m": {"path": str(tmp_path / "data"), "version": "1"}}
    first.build("--prove", "solved", packages=["tiny-data"], bundles=bundle)
    (tmp_path / "data" / "model.bin").write_bytes(b"two")
    bundle["m"]["version"] = "2"
    first.build("--prove", "solved", bundles=bundle)
    second.build("--prove", "solved", packages=["tiny-lib"])
    return first, second


def gc(world: World, *arguments: str) -> int:
    return run(["store", "gc", "--store", str(world.store), "--grace", "0", *arguments])


def archives(world: World) -> set[str]:
    return {path.name for path in (world.store / "packages").rglob("*") if path.is_file()}


def test_a_sweep_in_one_project_keeps_the_history_of_the_other(worlds, monkeypatch):
    first, second = worlds
    # What is not linked is held by its name alone: as if channels were on another file system.
    for path in [*first.channel.rglob("*.conda"), *second.channel.rglob("*.conda")]:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    before = archives(first)
    monkeypatch.chdir(second.root)
    assert gc(second, "--channels-dir", str(second.channels)) == 0
    assert archives(first) == before
    # Bundles and metapackages of release 1 can be made by nobody again.
    arguments = ["bank", "1", "--channels-dir", str(first.channels), "--store", str(first.store)]
    assert run(["restore", *arguments]) == 0
    assert any("bank-m-1-" in path for path in check(first.channel))


def test_a_sweep_without_channels_of_its_own_knows_the_others(worlds, monkeypatch, tmp_path):
    before = archives(worlds[0])
    monkeypatch.chdir(tmp_path)
    assert gc(worlds[0]) == 0
    assert archives(worlds[0]) == before


@pytest.mark.parametrize("emptied", [False, True])
def test_a_channel_that_is_not_there_stops_the_sweep(worlds, capsys, emptied):
    """Its disk is not mounted: the folder is gone, or an empty one is in its place."""
    first, second = worlds
    first.channels.rename(first.root / "unmounted")
    if emptied:
        first.channels.mkdir()
    before = archives(first)
    assert gc(second, "--channels-dir", str(second.channels)) == 2
    message = capsys.readouterr().err
    assert str(first.channel) in message
    assert "--forget" in message
    assert archives(first) == before
    # Said to be gone for good, what it alone needed goes; the other project stays.
    assert gc(second, "--forget", str(first.channel)) == 0
    assert archives(first) < before
    assert not second.build("--prove", "solved")["changed"]


def test_forgetting_what_nobody_knows_is_a_mistake(worlds, capsys):
    before = archives(worlds[0])
    assert gc(worlds[0], "--forget", "/nowhere") == 2
    assert str(worlds[0].channel) in capsys.readouterr().err
    assert archives(worlds[0]) == before


def test_a_build_that_failed_does_not_stop_sweeps(worlds):
    third = World(worlds[0].root.parent / "drei")
    third.store = worlds[0].store
    third.fail(4, packages=["nothing-like-this"])
    assert gc(third, "--channels-dir", str(worlds[0].channels)) == 0


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"channel": 5}'])
def test_a_damaged_note_stops_the_sweep(worlds, damage, capsys):
    before = archives(worlds[0])
    note = min((worlds[0].store / "roots").iterdir())
    note.write_bytes(damage)
    assert gc(worlds[0]) == 6
    assert "Traceback" not in capsys.readouterr().err
    assert archives(worlds[0]) == before


@pytest.mark.parametrize(
    "place",
    ["", "bank", "bank/noarch", ".history", ".history/bank", ".history/bank/1/noarch"],
)
def test_a_folder_that_cannot_be_read_stops_the_sweep(worlds, place):
    first, second = worlds
    before = archives(first)
    as_another: list[str] = []
    if os.getuid() == 0:  # which reads everything, unless it may no longer
        less = "-dac_override,-dac_read_search"
        as_another = ["setpriv", "--bounding-set", less, "--inh-caps", less]
    (first.channels / place).chmod(0)
    command = [sys.executable, "-m", "repack", "store", "gc", "--grace", "0"]
    result = subprocess.run(
        [*as_another, *command, "--store", str(first.store)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"},
        cwd=second.root,
        capture_output=True,
        text=True,
        check=False,
    )
    (first.channels / place).chmod(0o755)
    assert result.returncode == 2, result.stderr + result.stdout
    assert "permission denied" in result.stderr, result.stderr
    assert str(first.channels) in result.stderr
    assert archives(first) == before


@pytest.mark.parametrize("thing", ["link", "circle"])
def test_a_link_that_leads_nowhere_stops_the_sweep(worlds, thing):
    first, _ = worlds
    manifest = first.channels / ".history" / "bank" / "1" / "repack" / "manifest.json"
    manifest.unlink()
    manifest.symlink_to("gone" if thing == "link" else "manifest.json")
    before = archives(first)
    assert gc(first) == 2
    assert archives(first) == before


def test_what_would_go_is_said_first(worlds, capsys, monkeypatch):
    first, second = worlds
    shutil.rmtree(second.channel)
    before = archives(first)
    capsys.readouterr()
    arguments = ("--forget", str(second.channel), "--dry-run")
    assert gc(first, *arguments) == 0
    said = capsys.readouterr().out
    assert "would remove" in said
    assert archives(first) == before
    from repack.fs import atomic

    def unlink(path):
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "unlink", unlink)
        assert gc(first, "--channels-dir", str(first.channels)) == 2
    listed = [line for line in capsys.readouterr().out.splitlines() if "to go: package" in line]
    assert listed == [line for line in said.splitlines() if "to go: package" in line]
    assert gc(first, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    gone = {Path(row["path"]).name for row in document["removed"] if row["kind"] == "package"}
    assert gone == before - archives(first)
    assert len(gone) == len(listed) > 0
