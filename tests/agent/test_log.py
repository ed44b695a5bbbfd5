"""The agent's log: one line of JSON for each decision."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from datetime import UTC, datetime

import pytest

from repack.agent import log as logs
from repack.agent.log import AgentLog
from repack.cli.main import run
from repack.progress import SILENT

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def lines(bank):
    return [
        json.loads(line) for line in (bank.root / "agent-log/bank.log").read_text().splitlines()
    ]


def events(bank):
    return [line["event"] for line in lines(bank)]


def test_every_decision_has_a_line(bank):
    assert bank.install(1)[0] == 0
    assert events(bank) == ["begin", "accepted", "installed", "trying", "works"]
    assert all(line["label"] == "bank" and line["time"].endswith("Z") for line in lines(bank))
    (bank.root / "agent-log/bank.log").unlink()
    bank.configure(health={"command": ["false"]})
    assert bank.install(2)[0] == 130
    assert events(bank)[2:] == ["installed", "trying", "failed", "going-back", "error"]
    assert lines(bank)[-1]["exit_code"] == 130
    assert "health" in lines(bank)[4]["why"] or "false" in lines(bank)[4]["why"]
    (bank.root / "agent-log/bank.log").unlink()
    assert bank.agent("rollback")[0] == 21
    assert (lines(bank)[-1]["kind"], lines(bank)[-1]["exit_code"]) == (
        "nothing-to-roll-back-to",
        21,
    )


def test_looking_writes_no_log(bank):
    for words in (["status"], ["check"], ["check", "--src-dir", str(bank.medium(1))]):
        assert bank.agent(*words)[0] == 0
    assert not (bank.root / "agent-log").exists()


def test_it_rotates(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_BYTES", 1000)
    log = AgentLog(tmp_path / "new ü" / "bank.log", SILENT)
    for number in range(200):
        log.write(NOW, "trying", release=number, what="ü" * 5)
    files = sorted(path.name for path in log.path.parent.iterdir())
    assert files == ["bank.log", *(f"bank.log.{n}" for n in range(1, logs.KEEP + 1))]
    numbers = []
    for name in reversed(files):
        data = (log.path.parent / name).read_text()
        assert len(data.encode()) <= 1000
        numbers += [json.loads(line)["release"] for line in data.splitlines()]
    assert numbers == list(range(numbers[0], 200))


def test_a_log_that_cannot_be_written_holds_nothing_up(bank):
    (bank.root / "agent-log").write_text("a file is in the way")
    code, said = bank.install(1)
    assert (code, bank.in_use) == (0, 1), said


def test_a_log_is_never_written_through_a_link(bank):
    mine = bank.root / "mine"
    mine.write_text("mine")
    (bank.root / "agent-log").mkdir()
    (bank.root / "agent-log/bank.log").symlink_to(mine)
    assert bank.install(1)[0] == 0
    assert mine.read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounts a disk")
def test_a_full_disk_holds_nothing_up(bank):
    folder = bank.root / "agent-log"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], check=True)
    try:
        (folder / "hog").write_bytes(bytes(4096))
        assert bank.install(1)[0] == 0
        assert bank.in_use == 1
    finally:
        subprocess.run(["umount", folder], check=True)


def test_one_file_may_be_named(bank):
    bank.configure(log={"path": "here.log"})
    assert bank.install(1)[0] == 0
    assert (bank.root / "here.log").is_file()


def test_support_collects_it(bank, monkeypatch):
    assert bank.install(1)[0] == 0
    monkeypatch.chdir(bank.root)
    words = ["support", "bundle", "--config", str(bank.config), "-o", "s.zip", "--json"]
    assert run([*words, "--channels-dir", "none", "--store", "none"]) == 0
    with zipfile.ZipFile("s.zip") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("bank.log")]
        assert b'"works"' in archive.read(name)
