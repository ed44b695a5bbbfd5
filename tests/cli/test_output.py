"""What a terminal, a pipe and a full disk get to see."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from repack.cli.shared import output
from repack.cli.shared.meter import Meter, reporting
from repack.errors import SpaceError

COMMANDS = (
    ["--help"],
    ["schema"],
    ["labels"],
    ["labels", "--json"],
    ["doctor", "--json"],
    ["nosuch"],
)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def start(words, folder, **streams):
    return subprocess.Popen(
        [sys.executable, "-m", "repack", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        **streams,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_full_disk_gets_a_sentence(tmp_path, words):
    with (
        Path("/dev/full").open("w") as full,
        start(words, tmp_path, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        said = process.stderr.read().decode()
    assert process.returncode == (2 if words == ["nosuch"] else SpaceError.exit_code), said
    assert "Traceback" not in said
    assert "No space left" in said or words == ["nosuch"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_closed_pipe_ends_quietly(tmp_path, words):
    reading, writing = os.pipe()
    os.close(reading)
    with start(words, tmp_path, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        said = process.stderr.read().decode()
    assert process.returncode == (2 if words == ["nosuch"] else 1)
    assert "Traceback" not in said
    assert not said or words == ["nosuch"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["labels"], ["verify", "nothing"], ["nosuch"]], ids=" ".join)
def test_errors_that_nobody_can_read_keep_their_code(tmp_path, words):
    expected = start(words, tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait()
    with Path("/dev/full").open("w") as full:
        assert start(words, tmp_path, stdout=subprocess.DEVNULL, stderr=full).wait() == expected


def test_a_meter_says_amount_rate_time_and_name():
    clock = Clock()
    meter = Meter("fetch", 64_000_000, "bytes", clock)
    clock.now += 4
    assert meter.text() == "fetch: 0.0 of 64.0 MB, 0.0 MB/s, 4 s so far"
    meter.advance(16_000_000, "scipy-1-0.conda")
    assert meter.text() == "fetch: 16.0 of 64.0 MB, 4.0 MB/s, 12 s left: scipy-1-0.conda"
    clock.now += 996
    assert meter.text().endswith("0.0 MB/s, 50 min left: scipy-1-0.conda")


def test_a_meter_without_a_total_says_how_long_it_takes():
    clock = Clock()
    meter = Meter("sign", None, "files", clock)
    clock.now += 7
    assert meter.text() == "sign: 7 s so far"


def test_a_pipe_gets_lines_also_while_nothing_moves():
    lines, enough = [], threading.Event()

    def say(text):
        lines.append(text)
        if len(lines) == 3:
            enough.set()

    with reporting(Meter("solve", 2, "files"), say, every=0.01):
        assert enough.wait(60)
    count = len(lines)
    time.sleep(0.05)
    assert len(lines) == count, "it went on after the phase"
    assert lines[0].startswith("solve: 0 of 2 files, ")


def test_a_note_above_bars_is_not_broken(monkeypatch):
    bars, text = output.Bars(), "hint: " + "repack-store-verify" * 9
    bars._console = Console(file=(stream := io.StringIO()), width=80, force_terminal=False)
    with bars.phase("fetch", 10, "bytes") as advance:
        advance(5, "a[b]")
        bars.note(text)
    assert text in stream.getvalue()
