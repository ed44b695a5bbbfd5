"""Commands of a site."""

from __future__ import annotations

import os
import select
import time

import pytest

from repack.prefix.commands import CommandFailedError, run

PATH = {"PATH": "/usr/bin:/bin"}


def test_a_command_runs_in_its_environment(tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/check"
    program.write_text('#!/bin/sh\ntest "$CONDA_PREFIX" = "$PWD" && test -z "$PYTHONPATH"\n')
    program.chmod(0o755)
    with pytest.raises(CommandFailedError):
        run(["check"], None, PATH, 10)
    run(["check"], tmp_path, {**PATH, "PYTHONPATH": "/x"}, 10)
    assert program.exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["no-such-program"], "no program"),
        (["sh", "-c", "echo broken; exit 3"], "exit code 3\nbroken"),
        (["/etc/passwd"], "no program"),
    ],
)
def test_a_command_that_fails_says_why(command, said):
    with pytest.raises(CommandFailedError) as caught:
        run(command, None, PATH, 10)
    assert said in caught.value.text()


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path):
    reading, writing = os.pipe()
    hanging = ["sh", "-c", "sleep 600 & echo begun; sleep 600"]
    for patience in (1, 10, 60):  # how long a shell needs to begin depends on the machine
        with pytest.raises(CommandFailedError) as caught:
            run(hanging, None, PATH, patience, inherited=[writing])
        assert "too long" in caught.value.what
        if caught.value.got == "begun":
            break
    assert caught.value.got == "begun"
    os.close(writing)
    # The pipe ends when nobody holds its other end.
    assert select.select([reading], [], [], 60)[0]
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_a_daemon_that_a_command_leaves_behind_lives_on(tmp_path):
    os.mkfifo(tmp_path / "word")
    # It waits for a word; `run`, waiting for it, would end in an error.
    run(
        ["sh", "-c", f"(read word < {tmp_path}/word; echo $word > {tmp_path}/heard) &"],
        None,
        PATH,
        60,
    )
    (tmp_path / "word").write_text("go\n")  # returns when somebody reads it
    until = time.monotonic() + 60
    while not (tmp_path / "heard").exists() or not (tmp_path / "heard").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert (tmp_path / "heard").read_text() == "go\n"
