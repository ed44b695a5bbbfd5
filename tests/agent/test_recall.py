"""Recalled releases on a target: refused by every way in, and not to be brought back."""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import pytest

from repack.cli.main import run
from tests.agent import bank as banks
from tests.agent.bank import refuse, undisturbed

WHY = "CVE-2026-1234: Zinsen falsch, s. Rundschreiben Nr. 7/ä"


def repack(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*map(str, words), "--json"])
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return code, json.loads(out.getvalue()), err.getvalue()


@pytest.fixture
def office(vendor, monkeypatch):
    """Where the vendor's keys are."""
    monkeypatch.chdir(vendor.parent)
    return vendor.parent


def recall(office, medium, *numbers, why=WHY):
    """Recall releases in a channel, which is then a medium that says so."""
    words = [word for number in numbers for word in ("--release", number)]
    return repack("recall", "bank", *words, "--why", why, "--channels-dir", medium)


@pytest.fixture
def stick(office, vendor, tmp_path):
    """A medium with releases 1 to 3, whole; what is recalled by ``stick.recall`` stands on it."""
    channels = tmp_path / "chan nels ü"
    shutil.copytree(vendor / "3", channels)

    class Stick:
        path = tmp_path / "stick"

        def recall(self, *numbers, why=WHY):
            assert recall(office, channels, *numbers, why=why)[0] == 0
            self.write(3)

        def write(self, *numbers):
            for number in numbers:
                code, _, err = self.medium("--release", number)
                assert code == 0, err

        def medium(self, *words, to=None):
            places = ["--channels-dir", channels, "--store", office / "störe"]
            places += ["--labels-dir", office / "labels"]
            return repack("medium", "bank", to or self.path, *words, *places)

    stick = Stick()
    stick.channels = channels
    stick.write(1, 2, 3)
    shutil.copytree(stick.path, tmp_path / "old")
    stick.old = tmp_path / "old"
    return stick


def install(bank, stick, *words):
    return bank.agent("install", "--src-dir", str(stick), *words)


def test_the_newest_that_was_not_recalled_is_installed(bank, stick):
    stick.recall(3)
    code, said = bank.agent("check", "--src-dir", str(stick.path))
    assert (code, said["release"]) == (0, 2)
    assert not (bank.folder / "state/recalled.json").exists(), "check remembers nothing"
    code, said = install(bank, stick.path)
    assert (code, said["release"], bank.in_use) == (0, 2, 2)
    assert said["notes"][0] == f"release 3 was passed over: it was recalled: {WHY}"


@pytest.mark.parametrize("name", ["3", "bank@3"])
def test_a_recalled_one_is_refused_by_name(running, bank, stick, name):
    stick.recall(3)
    for command in ("install", "check"):
        with undisturbed(running):
            code, said = bank.agent(command, "--src-dir", str(stick.path), "--name", name)
        assert (code, said["error"], said["exit_code"]) == (16, "recalled", 16)
        assert said["what"] == f"release 3 was recalled: {WHY}"
    assert bank.agent("status")[1]["recalled"] == [{"release": 3, "why": WHY}]


def test_an_old_stick_cannot_take_a_recall_back(running, bank, stick):
    """By the versions of metadata; and where those were forgotten, by what the agent remembers."""
    stick.recall(3, 2)
    code, said = install(bank, stick.path, "--name", "2")
    assert (code, said["error"]) == (16, "recalled")
    with undisturbed(running):
        code, said = install(bank, stick.old)
    assert (code, said["error"]) == (11, "rollback")
    shutil.rmtree(bank.folder / "state/trust")
    for words in ([], ["--name", "2"], ["--name", "3"]):
        with undisturbed(running):
            code, said = install(bank, stick.old, *words)
        if words:
            assert (code, said["error"]) == (16, "recalled"), said
        else:
            assert (code, said["did"]) == (0, "unchanged"), said
            assert [note for note in said["notes"] if "recalled" in note]
    assert bank.agent("check", "--src-dir", str(stick.old), "--name", "3")[0] == 16


def test_a_medium_that_is_refused_recalls_nothing(running, bank, stick):
    stick.recall(2)
    path = stick.path / "bank/repack/metadata/timestamp.json"
    path.write_text(path.read_text().replace('"sig": "', '"sig": "00'))
    assert install(bank, stick.path)[0] == 11
    assert bank.agent("status")[1]["recalled"] == []


def test_status_and_check_say_that_what_runs_was_recalled(running, bank, stick):
    assert bank.agent("status")[0] == bank.agent("check")[0] == 0
    stick.recall(1)
    code, said = bank.agent("check", "--src-dir", str(stick.path))
    assert (code, said["release"]) == (0, 3), "what would be installed is not recalled"
    assert said["notes"][0] == f"release 1 was recalled: {WHY}; it is in use here"
    # A medium that has nothing newer for this target
    bank.configure(provision={"label": "bank", "type": "ci", "platform": "linux-64"})
    code, said = install(bank, stick.path, "--name", "1")
    assert (code, said["error"], bank.in_use) == (16, "recalled", 1)
    code, said = bank.agent("status")
    assert (code, said["in_use"]) == (16, 1)
    assert said["recalled"] == [{"release": 1, "why": WHY}]
    code, said = bank.agent("check")
    assert (code, said["error"], said["what"]) == (16, "recalled", f"release 1 was recalled: {WHY}")
    assert "got" not in said
    (bank.folder / "current/share/tiny/ä b.txt").write_text("by hand")
    code, said = bank.agent("check")
    assert (code, said["error"]) == (16, "recalled")
    assert "ä b.txt" in said["got"], "changes by hand are still named"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run(["target", "status", "--config", str(bank.config)]) == 16
    assert f"release 1, which is in use, was recalled: {WHY}" in out.getvalue()


def test_the_way_out_is_a_newer_release(running, bank, stick):
    stick.recall(1)
    assert install(bank, stick.path)[0] == 0
    assert bank.in_use == 3
    assert bank.agent("status")[0] == bank.agent("check")[0] == 0
    with undisturbed(bank):
        code, said = bank.agent("rollback")
    assert (code, said["error"]) == (16, "recalled")
    assert "release 1 was recalled" in said["what"]


def test_rollback_passes_a_recalled_one_over(bank, stick):
    bank.configure(storage={"root": str(bank.opt), "keep": 3})
    for number in ("1", "2", "3"):
        assert install(bank, stick.old, "--name", number)[0] == 0
    stick.recall(2)
    assert install(bank, stick.path)[1]["did"] == "unchanged"
    code, said = bank.agent("rollback")
    assert (code, said["current"], bank.in_use) == (0, 1, 1)


def test_a_recall_of_the_newest_takes_nobody_back_by_itself(bank, stick):
    assert install(bank, stick.old)[1]["release"] == 3
    stick.recall(3)
    with undisturbed(bank):
        code, said = install(bank, stick.path)
    assert (code, said["error"]) == (16, "recalled")
    assert "--name 2" in said["hint"]
    assert bank.agent("status")[0] == 16, "the recall is remembered though nothing was installed"
    assert install(bank, stick.path, "--name", "2")[0] == 0
    assert bank.in_use == 2
    assert bank.agent("status")[0] == 0


def test_a_new_release_that_fails_still_leaves_something_running(running, bank, stick):
    """Going back after a failure restores what ran; nothing at all would be worse. It is said."""
    stick.recall(1)
    script = '! grep -q \'"version": "3"\' share/repack/bank/manifest.json'
    bank.configure(health={"command": ["sh", "-c", script]})
    assert install(bank, stick.path)[0] == 110
    assert bank.in_use == 1
    assert bank.agent("status")[0] == bank.agent("check")[0] == 16


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """Two releases that want a restart, the second installed and not run yet; then recalled."""
    monkeypatch.chdir(tmp_path)
    made = banks.world(tmp_path, after_install="restart")
    banks.build(made, tmp_path / "media", releases=2)
    bank = banks.Bank(tmp_path)
    assert bank.install(1)[0] == 101
    return made, bank


def test_run_refuses_what_was_recalled_while_it_waited(waiting, tmp_path):
    made, bank = waiting
    assert bank.agent("run")[0] == 0
    assert bank.install(2)[0] == 101
    assert recall(tmp_path, made.channels, 2)[0] == 0
    banks.keep(made, bank.media, 3)
    assert bank.agent("check", "--src-dir", str(bank.medium(3)), "--name", "2")[0] == 16
    # What remembers a recall while a release waits is `install`, which gives the release up.
    state = bank.journal
    with undisturbed(bank):
        (bank.folder / "state/recalled.json").write_text(
            json.dumps([{"release": 2, "why": WHY}]), encoding="utf-8"
        )
        code, said = bank.agent("run")
    assert (code, said["error"], bank.in_use) == (16, "recalled", 1)
    assert bank.journal == state
    code, said = bank.agent("rollback")
    assert (code, said["did"], bank.in_use) == (0, "given-up", 1)


def test_install_learns_of_a_recall_while_the_recalled_one_waits(waiting, tmp_path):
    """Even the first one: neither `run` nor `rollback` could get rid of it."""
    made, bank = waiting
    assert recall(tmp_path, made.channels, 1)[0] == 0
    banks.keep(made, bank.media, 3)
    assert bank.install(2)[0] == 30, "a medium that recalls nothing changes nothing"
    code, said = bank.install(3)
    assert (code, said["release"]) == (101, 2)
    assert bank.agent("run")[0] == 0
    assert bank.in_use == 2


def test_a_release_that_was_cut_off_in_run_and_then_recalled_is_left(waiting, tmp_path):
    _, bank = waiting
    assert bank.agent("run")[0] == 0
    assert bank.install(2)[0] == 101
    path = bank.folder / "state/journal.json"
    path.write_text(json.dumps({**bank.journal, "phase": "trying", "starts": 1}))
    (bank.folder / "state/recalled.json").write_text('[{"release": 2, "why": "x"}]')
    code, said = bank.agent("run")
    assert (code, bank.in_use) == (110, 1)
    assert "release 2 was recalled: x" in said["got"]


@pytest.mark.parametrize("content", ["", "{}", "null", '[{"release": 2}]', "[" * 10000])
def test_a_damaged_list_of_recalls_is_not_an_empty_one(running, bank, content):
    path = bank.folder / "state/recalled.json"
    path.write_text(content)
    for command in ("install", "status", "check", "run", "rollback"):
        words = ["--src-dir", str(bank.medium(2))] if command == "install" else []
        code, said = bank.agent(command, *words)
        assert (code, said["error"], said["where"]) == (2, "place", str(path)), command
        assert "recalled releases is damaged" in said["what"]
    assert bank.in_use == 1


def test_what_signs_later_keeps_a_recall(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = banks.world(tmp_path)
    banks.build(made, tmp_path / "media", releases=2)
    assert recall(tmp_path, made.channels, 1, 2)[0] == 0
    said = made.build(packages=["tiny-data", "pip"], **banks.bump(3))
    assert said["release"] == 3
    assert not any("recalled" in warning for warning in said["warnings"])
    place = ["--channels-dir", str(made.channels)]
    code, said, _ = repack("promote", "bank", "--release", "3", "--tag", "north", *place)
    assert code == 0
    rows = [{"release": number, "why": WHY} for number in (1, 2)]
    assert said["recalled"] == rows
    banks.keep(made, tmp_path / "media", 3)
    bank = banks.Bank(tmp_path)
    assert bank.install(3)[0] == 0
    assert bank.agent("status")[1]["recalled"] == rows


# the vendor's side


def test_a_release_that_is_restored_stays_recalled(tmp_path, monkeypatch):
    """Its own metadata, from before the recall, does not come back with it."""
    monkeypatch.chdir(tmp_path)
    made = banks.world(tmp_path)
    banks.build(made, tmp_path / "media", releases=2)
    assert recall(tmp_path, made.channels, 1)[0] == 0
    places = ["--channels-dir", made.channels, "--store", made.store]
    code, said, err = repack("restore", "bank", "1", *places)
    assert (code, said["warnings"]) == (0, [f"release 1 was recalled: {WHY}"])
    assert "targets refuse it" in err
    banks.keep(made, tmp_path / "media", 3)
    code, said = banks.Bank(tmp_path).install(3, "--name", "1")
    assert (code, said["error"]) == (16, "recalled")
    code, said, _ = repack("restore", "bank", "2", *places)
    assert (code, said["warnings"]) == (0, [])


def test_a_wrong_number_or_reason_is_a_usage_error(office, stick):
    before = (stick.channels / "bank/repack/metadata/targets.json").read_bytes()
    code, said, _ = recall(office, stick.channels, 9)
    assert (code, said["error"], said["expected"]) == (2, "usage", "1, 2, 3")
    assert said["hint"]
    assert recall(office, stick.channels, 1, why=" ")[0] == 2
    for words in (["--why", "x"], ["--release", "1"], ["--release", "0", "--why", "x"]):
        assert repack("recall", "bank", *words, "--channels-dir", stick.channels)[0] == 2
    assert (stick.channels / "bank/repack/metadata/targets.json").read_bytes() == before


def test_recall_says_what_holds_now(office, stick, capsys):
    code, said, _ = recall(office, stick.channels, 2)
    assert (code, said["recalled"]) == (0, [{"release": 2, "why": WHY}])
    words = ["recall", "bank", "--release", "1", "--why", "x"]
    assert run([*words, "--channels-dir", str(stick.channels)]) == 0
    assert "  recalled: release 1, x\n" in capsys.readouterr().out


def test_media_carry_a_recalled_release_only_where_it_is_named(stick, tmp_path):
    stick.recall(3)
    new = tmp_path / "neu er"
    code, said, err = stick.medium(to=new)
    assert (code, said["release"]) == (0, 2)
    assert said["warnings"] == [f"release 3 was recalled: {WHY}; an older one was written"]
    assert said["warnings"][0] in err
    code, said, err = stick.medium("--release", "3", to=new)
    assert (code, said["releases"]) == (0, [2, 3])
    assert said["warnings"] == [f"release 3 was recalled: {WHY}; targets refuse it"]
    page = (new / "index.html").read_text()
    assert page.count("nobody any more: recalled") == 1, "one of the two releases on it"
    stick.recall(1, 2)
    code, said, err = stick.medium(to=tmp_path / "none")
    assert (code, said["error"]) == (16, "recalled")
    assert not (tmp_path / "none/bank").exists()


def test_media_for_a_tag_take_one_that_was_not_recalled(stick, tmp_path):
    place = ["--channels-dir", stick.channels]
    for number in (1, 2):
        assert repack("promote", "bank", "--release", number, "--tag", "north", *place)[0] == 0
    stick.recall(2)
    code, said, _ = stick.medium("--prod", "--tag", "north", to=tmp_path / "a")
    assert (code, said["release"]) == (0, 1)
    stick.recall(1)
    code, said, _ = stick.medium("--prod", "--tag", "north", to=tmp_path / "b")
    assert (code, said["error"]) == (16, "recalled")
    code, said, _ = stick.medium("--prod", "--release", "2", to=tmp_path / "c")
    assert (code, said["release"]) == (0, 2)


def test_labels_and_verify_say_it(office, stick, capsys):
    stick.recall(3)
    places = ["--labels-dir", office / "labels", "--channels-dir", stick.channels]
    code, rows, _ = repack("labels", *places)
    (row,) = [row for row in rows if row["label"] == "bank"]
    assert (code, row["recalled"]) == (0, [{"release": 3, "why": WHY}])
    assert run(["labels", *map(str, places)]) == 0
    assert "release 3 was recalled" in capsys.readouterr().out
    assert ">recalled</span>" in (stick.channels / "index.html").read_text()
    code, said, _ = repack("verify", stick.channels / "bank")
    assert (code, f"release 3 was recalled: {WHY}" in said["warnings"]) == (0, True)


def test_refused_media_still_leave_the_target_alone(running, stick):
    stick.recall(2)
    shutil.rmtree(running.medium(2))
    shutil.copytree(stick.path, running.medium(2))
    assert refuse(running, 16, 2, "--name", "2")["error"] == "recalled"
