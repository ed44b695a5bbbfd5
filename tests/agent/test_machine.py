"""What a machine does to an agent: full and read-only disks, wrong clocks, another agent."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repack import host
from repack.agent.install import install
from repack.agent.storage import RememberedClock
from repack.errors import ClockSetBackError, MetadataExpiredError
from tests.agent import bank as banks
from tests.agent.bank import refuse
from tests.world import snapshot

ROOT = Path(__file__).parent.parent.parent
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")


@contextlib.contextmanager
def mounted(folder, *words):
    """A mount on ``folder``; the test is skipped where there are none."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no mounts here: {done.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def small_disk(folder, size):
    return mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "none")


@contextlib.contextmanager
def read_only(folder):
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield


@needs_root
def test_no_space_is_known_before(bank):
    with small_disk(bank.opt, "400k"):
        assert bank.install(1)[0] == 0
        hog = bank.opt / "hog"
        free = shutil.disk_usage(bank.opt).free
        hog.write_bytes(bytes(free - (8 << 10)))
        said = refuse(bank, 60)
        assert said["error"] == "target-space"
        assert "does not fit" in said["what"]
        hog.unlink()
        assert bank.install(2)[0] == 0
        assert bank.in_use == 2


@needs_root
def test_a_disk_that_fills_up_midway(tmp_path, monkeypatch):
    """Nobody can tell before: a thousand zeros take the space of one in an archive."""
    monkeypatch.chdir(tmp_path)
    made = banks.world(tmp_path)
    zeros = tmp_path / "zeros"
    zeros.mkdir()
    (zeros / "zeros.bin").write_bytes(bytes(8 << 20))
    bank = banks.Bank(tmp_path)
    made.build(packages=["tiny-app"])
    banks.keep(made, bank.media, 1)
    bundle = {"zeros": {"path": str(zeros), "version": "1"}}
    made.build(packages=["tiny-data", "pip"], bundles=bundle)
    banks.keep(made, bank.media, 2)
    with small_disk(bank.opt, "2m"):
        assert bank.install(1)[0] == 0
        before = snapshot(bank.folder / "releases")
        code, said = bank.install(2)
        assert (code, said["error"]) == (60, "target-space"), said
        assert "does not fit" not in said["what"]
        assert (bank.in_use, bank.journal["phase"]) == (1, "idle")
        assert snapshot(bank.folder / "releases") == before
        subprocess.run(["mount", "-o", "remount,size=64m", str(bank.opt)], check=True)
        assert bank.install(2)[0] == 0
        assert bank.agent("status")[1]["in_use"] == 2


@needs_root
def test_a_disk_without_a_byte_left(running):
    """Not even the journal can be written; what runs goes on, and `status` answers."""
    saved = running.root / "saved"
    running.opt.rename(saved)
    with small_disk(running.opt, "1m"):
        shutil.copytree(saved, running.opt, symlinks=True, dirs_exist_ok=True)
        hog = running.opt / "hog"
        with contextlib.suppress(OSError), hog.open("wb", buffering=0) as stream:
            while stream.write(bytes(4096)):
                continue
        assert refuse(running, 60)["error"] == "target-space"
        assert running.agent("status")[1]["in_use"] == 1


@needs_root
def test_a_read_only_medium(bank):
    with read_only(bank.media):
        assert bank.install(1)[0] == 0
        assert bank.agent("check", "--src-dir", str(bank.medium(1)))[0] == 0
    assert bank.in_use == 1


@needs_root
def test_a_read_only_disk(bank):
    with read_only(bank.opt):
        code, said = bank.install(1)
    assert (code, said["error"]) == (2, "place")
    assert bank.install(1)[0] == 0
    with read_only(bank.opt):
        assert refuse(bank, 2)["error"] == "place"
        assert bank.agent("rollback")[0] == 2
        assert bank.agent("status")[1]["in_use"] == 1
        assert bank.agent("check")[0] == 0
    assert bank.install(2)[0] == 0


@pytest.fixture(scope="session")
def clock(tmp_path_factory):
    """A library that sets a program's clock to the Unix time in ``CLOCK``."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler, on Linux")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    library = folder / "clock.so"
    words = [compiler, "-shared", "-fPIC", "-o", library, folder / "clock.c", "-ldl"]
    subprocess.run(words, check=True)
    return library


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long long set(void) { return atoll(getenv("CLOCK")); }
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, at);
    if (id == CLOCK_REALTIME) at->tv_sec = set();
    return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    (void)zone; at->tv_sec = set(); at->tv_usec = 0; return 0;
}
time_t time(time_t *at) { if (at) *at = set(); return set(); }
"""


def agent_at(bank, library, year, release):
    """Install in a process whose clock stands at a year; exit code, answer, and what it noted."""
    seconds = int(datetime(year, 1, 1, 12, tzinfo=UTC).timestamp())
    done = subprocess.run(
        [*install_words(bank, release), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": str(library),
            "CLOCK": str(seconds),
        },
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def install_words(bank, release):
    words = [sys.executable, "-m", "repack", "target", "install"]
    return [*words, "--config", str(bank.config), "--src-dir", str(bank.medium(release))]


def test_the_clock_of_the_machine_is_wrong(bank, clock):
    code, said, _ = agent_at(bank, clock, 2090, 1)
    assert (code, said["error"]) == (12, "metadata-expired")
    assert bank.in_use is None
    code, said, noted = agent_at(bank, clock, 1970, 1)
    assert (code, bank.in_use) == (0, 1), said
    assert "the clock stands at 1970-01-01" in noted
    code, said, _ = agent_at(bank, clock, 2090, 2)
    assert (code, bank.in_use) == (12, 1), said
    assert bank.install(2)[0] == 0


def test_a_clock_that_was_set_back_behind_what_was_signed(bank):
    def at(year):
        return bank.site(clock=lambda: datetime(year, 1, 1, tzinfo=UTC))

    with pytest.raises(MetadataExpiredError):
        install(at(2090), bank.medium(1))
    assert install(at(1970), bank.medium(1)).current == 1
    bank.site().storage.save_clock(RememberedClock(datetime(2089, 1, 1, tzinfo=UTC)))
    with pytest.raises(ClockSetBackError) as caught:
        install(at(1970), bank.medium(2))
    assert caught.value.exit_code == 12


def test_a_second_agent_at_the_same_time(running):
    """The first one is in the middle of its health check."""
    begun, go = running.root / "begun", running.root / "go"
    wait = f"touch {begun}; while [ ! -e {go} ]; do sleep 0.02; done"
    running.configure(health={"command": ["sh", "-c", wait]})
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(install_words(running, 2), env=variables) as first:
        try:
            while not begun.exists():
                assert first.poll() is None
                time.sleep(0.02)
            for command, *more in (
                ("install", "--src-dir", str(running.medium(3))),
                ("run",),
                ("rollback",),
            ):
                code, said = running.agent(command, *more)
                assert (code, said["error"]) == (8, "busy")
            assert running.agent("status")[1]["state"] == "trying"
        finally:
            go.touch()
    assert (first.returncode, running.in_use) == (0, 2)


def test_an_agent_that_is_about_to_end_is_waited_for(running):
    """The lock of one that was killed is inherited by what it was just starting."""
    path = running.folder / "state/lock"
    hold = (
        f"import fcntl, time; f = open({str(path)!r}, 'a'); fcntl.flock(f, 2)\n"
        "print(1, flush=True); time.sleep(0.3)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline(), "it did not get ready"
        assert running.install(2)[0] == 0
    assert running.in_use == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_boot_is_told_from_others():
    boot = host.boot_id()
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert host.is_same_boot(boot, host.boot_id())
    assert not host.is_same_boot(boot, "another")
    assert not host.is_same_boot(None, boot)
    assert not host.is_same_boot(boot, None)
    # Windows: the clock may be corrected by seconds
    assert host.is_same_boot("boot-time:1000", "boot-time:1029")
    assert not host.is_same_boot("boot-time:1000", "boot-time:1100")
