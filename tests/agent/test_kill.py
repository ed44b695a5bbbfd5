"""SIGKILL at any instant of install, run and rollback: old or new, and the next call ends well."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repack.agent.run import roll_back, run
from repack.errors import RolledBackError
from tests.agent import bank as banks
from tests.carrying import killed_after
from tests.licensing import killed_at

# Some strike at touches of the disk by Python, so that none is left out; those with the clock
# strike at any instant, what rattler writes from its threads included.
SOAK = (pytest.mark.slow, pytest.mark.soak)
TIMES = [pytest.param(8, id="few"), pytest.param(200, id="all", marks=SOAK)]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def waiting(vendor, tmp_path):
    """Release 1 runs; a copy of its folder can be laid out again and again."""
    shutil.copytree(vendor, tmp_path / "media", copy_function=os.link)
    bank = banks.Bank(tmp_path)
    assert bank.install(1)[0] == 0
    return bank


def again(bank, saved):
    """Put the target's folder back to what it was, at the same path, for paths are in files."""
    shutil.rmtree(bank.opt)
    shutil.copytree(saved, bank.opt, symlinks=True)


def strike(bank, instant, work):
    """Kill ``work`` in a child at its n-th touch of the disk; False once it ends before that."""
    return killed_at(instant, lambda: work(bank.site()))


def strike_install(bank, instant):
    """The same for ``install`` of release 2, in a process of its own: rattler does not fork."""
    script = (
        "import sys, rattler\n"  # loaded before the count begins
        "from repack.cli import main, target\n"
        "from repack.agent import install\n"
        "from tests.licensing import strike_at\n"
        f"strike_at({instant})\n"
        "main.main()\n"
    )
    words = [sys.executable, "-c", script, "target", "install", "--src-dir", str(bank.medium(2))]
    done = subprocess.run(
        [*words, "--config", str(bank.config)],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0


def check(bank, *allowed):
    """A reader sees a whole release; the next calls end well, whichever they are."""
    assert bank.in_use in allowed
    assert bank.agent("status")[0] == 0


def test_install_killed_anywhere(waiting):
    saved = shutil.copytree(waiting.opt, waiting.root / "saved", symlinks=True)
    step, instant, killed = 23, 5, 0
    while strike_install(waiting, instant):
        killed += 1
        check(waiting, 1, 2)
        code, said = waiting.install(2)
        assert code == 0, said
        assert waiting.in_use == 2
        assert sorted(p.name for p in (waiting.folder / "releases").iterdir()) == ["1", "2"]
        again(waiting, saved)
        instant += step
    assert killed > 5
    assert waiting.in_use == 2


def test_run_killed_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bank = pending(tmp_path)
    saved = shutil.copytree(bank.opt, bank.root / "saved", symlinks=True)
    instant = 1
    while strike(bank, instant, run):
        check(bank, 1, 2)
        code, said = bank.agent("run")
        assert code == (40 if bank.journal["phase"] == "idle" and code == 40 else 0), said
        assert bank.in_use == 2
        assert bank.journal["good"] == [1, 2]
        again(bank, saved)
        instant += 3
    assert instant > 10


def test_a_failing_run_killed_anywhere_ends_at_the_old_release(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bank = pending(tmp_path)
    saved = shutil.copytree(bank.opt, bank.root / "saved", symlinks=True)
    refuse_two(bank)
    instant = 1
    while strike(bank, instant, fail):
        check(bank, 1, 2)
        code, said = bank.agent("run")
        assert code in {110, 40}, said
        assert bank.in_use == 1
        assert (bank.journal["phase"], bank.journal["failed"]) == ("idle", [2])
        again(bank, saved)
        instant += 4
    assert instant > 10


def test_rollback_killed_anywhere(waiting):
    assert waiting.install(2)[0] == 0
    saved = shutil.copytree(waiting.opt, waiting.root / "saved", symlinks=True)
    instant = 1
    while strike(waiting, instant, roll_back):
        check(waiting, 1, 2)
        code, said = waiting.agent("rollback")
        assert code in {0, 21}, said
        assert waiting.in_use == 1
        assert waiting.journal["phase"] == "idle"
        again(waiting, saved)
        instant += 3
    assert instant > 10


def test_a_release_that_takes_the_machine_down_is_given_up(tmp_path, monkeypatch):
    """Each start is cut off in the health check, as if the machine had crashed."""
    monkeypatch.chdir(tmp_path)
    bank = pending(tmp_path)
    bank.configure(
        health={
            "command": [
                "sh",
                "-c",
                f'test "$(readlink {bank.folder}/current)" = releases/1 || kill -9 $PPID',
            ]
        }
    )
    for start in (1, 2, 3):
        assert in_a_process(bank, "run").returncode == -signal.SIGKILL
        assert (bank.journal["phase"], bank.journal["starts"]) == ("trying", start)
        assert bank.install(2)[0] == 30
    assert in_a_process(bank, "run").returncode == 110
    assert (bank.in_use, bank.journal["failed"]) == (1, [2])


@pytest.mark.parametrize("times", TIMES)
def test_install_killed_by_the_clock(waiting, times):
    saved = shutil.copytree(waiting.opt, waiting.root / "saved", symlinks=True)
    chance = random.Random(4)
    source = ["--src-dir", str(waiting.medium(2))]
    began = time.monotonic()
    assert in_a_process(waiting, "install", *source).returncode == 0
    whole = time.monotonic() - began
    again(waiting, saved)
    for _ in range(times):
        process = in_a_process(waiting, "install", *source, wait=False)
        time.sleep(chance.uniform(0.3, 1.0) * whole)
        process.kill()
        process.wait()
        check(waiting, 1, 2)
        code, said = waiting.install(2)
        assert code == 0, said
        assert waiting.in_use == 2
        again(waiting, saved)


@pytest.mark.parametrize("times", TIMES)
def test_run_killed_by_the_clock(tmp_path, monkeypatch, times):
    monkeypatch.chdir(tmp_path)
    bank = pending(tmp_path)
    for _ in struck(bank, run, times):
        check(bank, 1, 2)
        code, said = bank.agent("run")
        assert code in {0, 40}, said
        assert (bank.in_use, bank.journal["good"]) == (2, [1, 2])


@pytest.mark.parametrize("times", TIMES)
def test_a_failing_run_killed_by_the_clock(tmp_path, monkeypatch, times):
    monkeypatch.chdir(tmp_path)
    bank = pending(tmp_path)
    refuse_two(bank)
    for _ in struck(bank, fail, times):
        check(bank, 1, 2)
        code, said = bank.agent("run")
        assert code in {110, 40}, said
        assert (bank.in_use, bank.journal["phase"], bank.journal["failed"]) == (1, "idle", [2])


@pytest.mark.parametrize("times", TIMES)
def test_rollback_killed_by_the_clock(waiting, times):
    assert waiting.install(2)[0] == 0
    for _ in struck(waiting, roll_back, times):
        check(waiting, 1, 2)
        code, said = waiting.agent("rollback")
        assert code in {0, 21}, said
        assert (waiting.in_use, waiting.journal["phase"]) == (1, "idle")


def struck(bank, work, times):
    """Kill ``work`` in a child at random instants; every time the target is as it was before."""
    saved = shutil.copytree(bank.opt, bank.root / "saved", symlinks=True)
    chance = random.Random(5)
    took = []
    for _ in range(3):
        began = time.monotonic()
        assert not killed_after(60, lambda: work(bank.site()))
        took.append(time.monotonic() - began)
        again(bank, saved)
    tried = killed = 0
    # Some strike after it has ended: it takes less time when the machine is less busy.
    while tried < times or (killed <= times / 8 and tried < 10 * times):
        killed += killed_after(chance.uniform(0, min(took)), lambda: work(bank.site()))
        tried += 1
        yield
        again(bank, saved)
    assert killed > times / 8


def refuse_two(bank):
    """Let the health check of release 2 fail."""
    seen = f"{bank.folder}/current.check"
    check = f"readlink {bank.folder}/current > {seen}; ! grep -q releases/2 {seen}"
    bank.configure(health={"command": ["sh", "-c", check]})


def fail(site):
    with pytest.raises(RolledBackError):
        run(site)


def in_a_process(bank, command, *arguments, wait=True):
    words = [sys.executable, "-m", "repack", "target", command, *arguments]
    process = subprocess.Popen(
        [*words, "--config", str(bank.config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if wait:
        process.wait()
    return process


def pending(root):
    """Release 1 runs, and release 2 waits for ``run``."""
    banks.build(banks.world(root, after_install="restart"), root / "media", releases=2)
    bank = banks.Bank(root)
    assert bank.install(1)[0] == 101
    assert bank.agent("run")[0] == 0
    assert bank.install(2)[0] == 101
    return bank
