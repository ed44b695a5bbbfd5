"""The agent's life with releases, and every exit code it can end with."""

from __future__ import annotations

import itertools
import json
import os
import shutil

import pytest

from tests.agent import bank as banks


def test_a_release_is_installed_and_runs_at_once(bank):
    code, said = bank.install(1)
    assert (code, said["did"], said["release"], said["current"]) == (0, "installed", 1, 1)
    assert bank.in_use == 1
    assert bank.journal["phase"] == "idle"
    assert bank.agent("status")[1]["good"] == [1]
    assert not (bank.folder / "state/incoming").exists()


def test_the_life_of_a_target(bank):
    """Release 1, 2 fails its health check and is rolled back, 3, rollback by hand."""
    assert bank.install(1)[0] == 0
    bank.configure(
        health={
            "command": ["sh", "-c", '! grep -q \'"version": "2"\' share/repack/bank/manifest.json']
        }
    )
    code, said = bank.install(2)
    assert (code, said["error"]) == (110, "rolled-back")
    assert bank.in_use == 1
    assert bank.agent("status")[1]["failed"] == [2]
    assert bank.install(2)[0] == 6, "a release that failed is not taken again"
    assert bank.install(2, "--name", "2")[0] == 110, "unless it is named"
    assert bank.install(3)[0] == 0
    assert bank.in_use == 3
    assert bank.agent("rollback")[0] == 0
    assert bank.in_use == 1
    assert bank.agent("status")[1]["failed"] == [2, 3]
    assert bank.agent("rollback")[0] == 21


def test_the_pinned_root_may_lie_beside_the_settings(bank):
    bank.settings = {"trust": {}}
    bank.configure()
    assert bank.install(1)[0] == 14
    os.link(bank.media / "root.json", bank.root / "root.json")
    assert bank.install(1)[0] == 0


def test_services_are_stopped_and_started_around_the_switch(bank):
    log = bank.root / "log"
    words = {
        key: ["sh", "-c", f"echo {key} $(readlink {bank.folder}/current) >> {log}"]
        for key in ("stop", "start")
    }
    bank.configure(services=words)
    assert bank.install(1)[0] == 0
    assert bank.install(2)[0] == 0
    assert log.read_text().splitlines() == [
        "stop",
        "start releases/1",
        "stop releases/1",
        "start releases/2",
    ]


@pytest.mark.parametrize(
    ("word", "code", "did"), [("reboot", 100, "reboot"), ("restart", 101, "restart")]
)
def test_labels_that_want_more_wait_for_run(tmp_path, monkeypatch, reboot, word, code, did):
    monkeypatch.chdir(tmp_path)
    media = banks.build(banks.world(tmp_path, after_install=word), tmp_path / "media")
    bank = banks.Bank(tmp_path)
    assert media == bank.media
    assert bank.install(1)[0] == code
    assert (bank.in_use, bank.journal["phase"]) == (None, "pending")
    assert bank.install(1)[0] == 30
    assert bank.agent("rollback")[0] == 21
    if word == "reboot":
        for _ in range(4):  # more often than a release may be started
            code_again, said = bank.agent("run")
            assert (code_again, said["did"], bank.journal["starts"]) == (100, "reboot", 0)
            assert "not restarted" in said["notes"][0]
        assert bank.agent("status")[1]["awaits"] == "reboot"
        reboot()
        assert bank.agent("status")[1]["awaits"] == "run"
    assert bank.agent("run")[0] == 0
    assert bank.in_use == 1
    assert bank.agent("run")[0] == 40
    assert bank.install(2)[1]["did"] == did
    assert bank.agent("rollback")[1]["did"] == "given-up"
    assert bank.in_use == 1
    assert bank.install(2)[0] == code
    bank.configure(health={"command": [["true"], ["false"]]})
    if word == "restart":
        assert bank.agent("run")[0] == 130, "the check fails for the release before as well"
        assert bank.in_use == 1
        return
    reboot()
    code, said = bank.agent("run")
    assert (code, said["error"]) == (100, "rollback-awaits-reboot")
    assert (bank.in_use, bank.journal["phase"]) == (1, "awaiting")
    assert bank.agent("status")[1]["awaits"] == "reboot"
    assert bank.install(3)[0] == 30
    bank.configure()
    for command in ("run", "rollback", "run"):
        assert bank.agent(command)[0] == 100, "until the machine was restarted"
    reboot()
    code, said = bank.agent("run")
    assert (code, bank.in_use, bank.journal["phase"]) == (110, 1, "idle")
    assert "before the reboot" in json.dumps(said)


@pytest.fixture
def reboot(monkeypatch):
    """The machine's boot, which a call ends."""
    boots = itertools.count(1)

    def next_boot():
        number = next(boots)
        monkeypatch.setattr("repack.host.boot_id", lambda: f"boot {number}")

    next_boot()
    return next_boot


def waiting(tmp_path, monkeypatch, **label):
    monkeypatch.chdir(tmp_path)
    banks.build(banks.world(tmp_path, **label), tmp_path / "media")
    return banks.Bank(tmp_path)


def test_a_way_back_that_fails_after_the_reboot_is_130(tmp_path, monkeypatch, reboot):
    bank = waiting(tmp_path, monkeypatch, after_install="reboot")
    for release, code in ((1, 0), (2, 100)):
        assert bank.install(release)[0] == 100
        reboot()
        if release == 2:
            bank.configure(health={"command": ["false"]})
        assert bank.agent("run")[0] == code
    reboot()
    assert bank.agent("run")[0] == 130
    assert bank.journal["phase"] == "idle"


def test_a_container_says_that_it_was_restarted(tmp_path, monkeypatch, reboot):
    bank = waiting(tmp_path, monkeypatch, after_install="reboot")
    assert bank.install(1)[0] == 100
    assert bank.agent("run")[0] == 100
    assert bank.agent("run", "--assume-rebooted")[0] == 0
    assert bank.install(2)[0] == 100
    assert bank.agent("run", "--assume-rebooted")[0] == 0
    assert bank.agent("rollback")[0] == 100
    assert bank.agent("rollback", "--assume-rebooted")[1]["did"] == "rolled-back"


def test_where_the_system_tells_no_boot_nobody_is_held_up(tmp_path, monkeypatch):
    monkeypatch.setattr("repack.host.boot_id", lambda: None)
    bank = waiting(tmp_path, monkeypatch, after_install="reboot")
    assert bank.install(1)[0] == 100
    assert bank.agent("run")[0] == 0


@pytest.mark.parametrize(("word", "code"), [("reboot", 100), ("restart", 101)])
def test_rollback_asks_for_what_the_label_asks_for(tmp_path, monkeypatch, reboot, word, code):
    bank = waiting(tmp_path, monkeypatch, after_install=word)
    for release in (1, 2):
        assert bank.install(release)[0] == code
        reboot()
        assert bank.agent("run")[0] == 0
    got, said = bank.agent("rollback")
    assert (got, said["did"], said["release"]) == (code, word, 1)
    assert (bank.in_use, bank.journal["phase"], bank.journal["cause"]) == (1, "awaiting", "wish")
    assert bank.agent("status")[1]["awaits"] == word
    assert bank.install(3)[0] == 30
    reboot()
    got, said = bank.agent("run")
    assert (got, said["did"], bank.in_use) == (0, "rolled-back", 1)
    assert bank.agent("status")[1]["failed"] == [2]


def test_what_changed_decides_between_reboot_and_restart(tmp_path, monkeypatch, reboot):
    monkeypatch.chdir(tmp_path)
    models = tmp_path / "models"
    models.mkdir()
    world = banks.world(
        tmp_path,
        after_install={"packages": "reboot", "bundles": "restart"},
        bundles={"models": {"path": str(models), "version": "1"}},
    )
    bank = banks.Bank(tmp_path)
    releases = {1: ["tiny-data"], 2: ["tiny-data"], 3: ["tiny-app"], 4: ["tiny-data"]}
    for number, packages in releases.items():
        (models / "a.txt").write_text("4" if number == 4 else str(min(number, 2)))
        world.build(packages=[*packages, "pip"], **banks.bump(number))
        banks.keep(world, bank.media, number)
    for release, code in {1: 100, 2: 101, 3: 100, 4: 100}.items():
        assert bank.install(release)[0] == code, release
        reboot()
        assert bank.agent("run")[0] == 0
    assert bank.agent("rollback")[0] == 100, "from 4 to 3: packages"
    reboot()
    assert bank.agent("run")[0] == 0
    bank.configure(storage={"root": str(bank.opt), "keep": 9})
    # a release that changes nothing but its number asks for the lesser of both
    world.build(packages=["tiny-app", "pip"], **banks.bump(5))
    banks.keep(world, bank.media, 5)
    world.build(packages=["tiny-app", "pip"], **banks.bump(6))
    banks.keep(world, bank.media, 6)
    assert bank.install(5)[0] == 101, "another bundle than 3"
    assert bank.agent("run")[0] == 0
    assert bank.install(6)[0] == 101
    assert bank.agent("run")[0] == 0
    assert bank.agent("rollback")[0] == 101
    assert bank.agent("run")[1]["did"] == "rolled-back"


def test_a_first_release_that_fails_has_nothing_to_go_back_to(bank):
    bank.configure(health={"command": ["false"]})
    assert bank.install(1)[0] == 130
    assert bank.in_use is None
    bank.configure()
    assert bank.install(1)[0] == 6
    assert bank.install(1, "--name", "bank@1")[0] == 0


def test_old_releases_go_and_take_their_packages_along(bank):
    bank.configure(storage={"root": str(bank.opt), "keep": 1})
    for release in (1, 2, 3):
        assert bank.install(release)[0] == 0
    assert [path.name for path in (bank.folder / "releases").iterdir()] == ["3"]
    assert not (bank.folder / "cache/tiny-app-2.0-py_0").exists()
    assert (bank.folder / "cache/tiny-data-1.0-0").is_dir()
    assert bank.agent("rollback")[0] == 21


def test_releases_share_the_files_that_did_not_change(bank):
    bank.install(1)
    bank.install(2)
    one, two = (bank.folder / f"releases/{n}/share/tiny/ä b.txt" for n in (1, 2))
    assert one.samefile(two)


def test_what_is_there_is_not_asked_of_the_medium_again(bank):
    bank.install(1)
    for archive in bank.medium(2).rglob("tiny-data-*.conda"):
        data = bytearray(archive.read_bytes())
        data[-1] ^= 1
        archive.unlink()
        archive.write_bytes(data)
    assert bank.install(2)[0] == 0


def test_a_file_that_was_changed_through_a_link_is_not_carried_on(bank):
    bank.install(1)
    shared = bank.folder / "releases/1/share/tiny/ä b.txt"
    with shared.open("w") as stream:
        stream.write("mine")
    code, said = bank.agent("check")
    assert (code, said["error"]) == (6, "changed-by-hand")
    assert "share/tiny/ä b.txt was changed" in said["got"]
    assert bank.install(2)[0] == 0
    assert bank.in_use == 2
    assert shared.read_text() == "mine"


def test_a_cache_that_somebody_emptied_is_filled_again(bank):
    bank.install(1)
    shutil.rmtree(bank.folder / "cache")
    assert bank.install(2)[0] == 0
    assert bank.in_use == 2


def test_packages_added_by_hand_are_reported_and_left(bank):
    bank.install(1)
    extra = bank.folder / "current/conda-meta/mine-1-0.json"
    extra.write_text("{}")
    code, said = bank.install(1)
    assert (code, said["error"]) == (6, "changed-by-hand")
    assert "mine-1-0 was added" in said["got"]
    assert extra.exists()


def test_going_back_to_a_named_release_that_is_still_there(bank):
    bank.install(1)
    bank.install(2)
    before = (bank.folder / "releases/1").stat().st_ino
    assert bank.install(2, "--name", "1")[0] == 0
    assert bank.in_use == 1
    assert (bank.folder / "releases/1").stat().st_ino == before
    assert bank.install(2)[0] == 0


def test_check_says_what_install_would_do_and_changes_nothing(bank):
    where = ["--src-dir", str(bank.medium(1))]
    code, said = bank.agent("check", *where)
    assert (code, said["release"], said["new"], said["packages"]) == (0, 1, True, 7)
    assert not bank.folder.exists()
    bank.install(1)
    assert bank.agent("check", *where)[1]["new"] is False
    assert bank.agent("check", *where, "--name", "9")[0] == 20
    assert bank.agent("check")[0] == 0


def test_the_channel_itself_is_a_medium_too(bank):
    assert bank.agent("install", "--src-dir", str(bank.medium(1) / "bank"))[0] == 0
