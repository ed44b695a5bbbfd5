"""``diff`` and ``--dry-run`` say what the next build does: the same decision, counts and words."""

from __future__ import annotations

import json

import pytest

from tests import tiny
from tests.world import World, snapshot


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path / "wörk dir")
    monkeypatch.chdir(world.root)
    folder = world.root / "labels" / "data"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a")
    (folder / "b.bin").write_bytes(b"b")
    return world


@pytest.fixture
def ask(world, capsys):
    def preview(**changes):
        world.write(**changes)
        capsys.readouterr()
        before = snapshot(world.channels), snapshot(world.labels)
        assert world.repack("diff", "bank", "--json") == 0
        said = json.loads(capsys.readouterr().out)
        assert (snapshot(world.channels), snapshot(world.labels)) == before
        return said

    return preview


def words(said):
    return {change["what"]: (change["before"], change["after"]) for change in said["settings"]}


def test_nothing_changes_where_nothing_does(world, ask):
    built = world.build()
    said = ask()
    assert (said["changed"], said["next_release"], said["settings"]) == (False, None, [])
    assert said["platforms"] == world.build()["platforms"]
    assert {s: p["packages"] for s, p in said["platforms"].items()} == {
        s: p["packages"] for s, p in built["platforms"].items()
    }


@pytest.mark.parametrize(
    ("change", "what", "after"),
    [
        ({"description": "risk"}, "description", "risk"),
        ({"health_check": ["python", "-c", "1"]}, "health check", "python -c 1"),
        ({"after_install": "reboot"}, "after an installation", "reboot"),
        ({"platforms": {"linux-64": {"__glibc": "2.28"}, "win-64": {}}},
         "target profile of linux-64", "__archspec x86_64, __glibc 2.28, __linux 3.10, __unix 0"),
        ({"licences": {"unknown": "deny"}}, "licence policy", None),
        ({"license": "required"}, "device licence", "required"),
        ({"signing": {"hmac": "env:K"}}, "signing", None),
    ],
)  # fmt: skip
def test_a_changed_setting_is_said_before_and_after(world, ask, monkeypatch, change, what, after):
    monkeypatch.setenv("K", "0123456789abcdef0123456789abcdef")
    world.build()
    said = ask(**change)
    assert (said["changed"], said["next_release"]) == (True, 2)
    assert what in words(said)
    assert after is None or words(said)[what][1] == after
    built = world.build()
    assert built["release"] == 2
    assert words(built)[what][0] == words(said)[what][0]
    page = (world.channel / "index.html").read_text(encoding="utf-8")
    assert f'<th scope="row">{what}</th>' in page
    assert ask()["changed"] is False


def test_a_bundle_is_compared_by_file(world, ask):
    bundles = {"m": {"path": "data", "version": "1"}}
    world.build(bundles=bundles)
    assert ask()["changed"] is False
    (world.labels / "data" / "a.bin").write_bytes(b"other")
    said = ask()
    assert list(words(said)) == ["bundle m: a.bin"]
    built = world.build()
    assert built["release"] == said["next_release"] == 2
    assert words(built) == words(said)


def test_counts_and_proofs_are_the_builds(world, ask):
    said = ask(bundles={"m": {"path": "data", "version": "1"}})
    built = world.build()
    for subdir, row in built["platforms"].items():
        assert said["platforms"][subdir]["packages"] == row["packages"]
        assert said["platforms"][subdir]["proof"] == row["proof"]


def test_the_number_after_a_restore_and_what_it_undoes(world, ask):
    world.build()
    world.build(packages=["tiny-lib"])
    world.build(packages=["tiny-data"])
    assert world.repack("restore", "bank", "1") == 0
    said = ask()
    assert (said["release"], said["next_release"]) == (1, 4)
    assert "release 1 was restored; release 4 would undo that" in said["warnings"]
    built = world.build()
    assert built["release"] == 4
    assert "release 1 had been restored; this release undoes that" in built["warnings"]
    assert ask()["warnings"] == []


def test_what_is_not_in_the_store_is_compared_by_record(world, ask, tmp_path):
    world.build()
    world.store = tmp_path / "another störe"
    assert ask()["changed"] is False
    world.serve(*tiny.PACKAGES, tiny.Package("new", "1.0"))
    said = ask(packages=["new", "tiny-app"], platforms={"linux-64": {}})
    assert said["changed"] is True
    assert "linux-64/new-1.0-0.conda" in said["added"]


def test_a_mistake_of_the_build_is_one_of_the_preview(world, capsys):
    world.serve(*tiny.PACKAGES, tiny.Package("bank-m", "1.0"))
    world.write(packages=["bank-m"], platforms={"linux-64": {}},
                bundles={"m": {"path": "data", "version": "1"}})  # fmt: skip
    assert world.repack("diff", "bank") == world.repack("label", "bank") == 3
