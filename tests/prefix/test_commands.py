"""Commands of a site."""

from __future__ import annotations

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
    began = time.monotonic()
    with pytest.raises(CommandFailedError) as caught:
        run(["sh", "-c", f"(sleep 3; touch {tmp_path}/late) & echo begun; sleep 60"], None, PATH, 1)
    assert "too long" in caught.value.what
    assert caught.value.got == "begun"
    assert time.monotonic() - began < 3
    time.sleep(2.5)
    assert not (tmp_path / "late").exists()


def test_a_daemon_that_a_command_leaves_behind_lives_on(tmp_path):
    began = time.monotonic()
    run(["sh", "-c", f"(sleep 1; touch {tmp_path}/alive) & exit 0"], None, PATH, 30)
    assert time.monotonic() - began < 1
    time.sleep(1.5)
    assert (tmp_path / "alive").exists()
