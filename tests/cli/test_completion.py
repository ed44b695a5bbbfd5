"""Completion, asked for as the shells ask: in the shells that are here, else by their protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from repack.cli.main import COMMANDS, repack

ROOT = Path(__file__).parents[2]
# Types `repack ver`, then Tab, in an interactive zsh; its completion needs a terminal.
ZSH = r"""
zmodload zsh/zpty
zpty z 'zsh -f -i'
zpty -w z 'autoload -Uz compinit; compinit -u -D; source ./script; PS1=; print -r -- REA""DY'
while zpty -r z line; do [[ $line == *READY* ]] && break; done
zpty -w -n z $'repack ver\t'
while zpty -r z part '*repack verify*'; do print -r -- "$part"; break; done
"""


@pytest.fixture
def shell(tmp_path):
    """Run a program in a folder with the script of a shell, and with `repack` on its path."""
    program = tmp_path / "repack"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m repack "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    def run(name, *words):
        if shutil.which(name) is None:
            pytest.skip(f"no {name} here")
        script = CliRunner().invoke(repack, ["completion", name])
        (tmp_path / "script").write_text(script.output)
        done = subprocess.run(
            [name, *words],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    return run


def test_bash_completes_commands_and_options(shell):
    ask = (
        'COMP_WORDS=(repack {}); COMP_CWORD={}; _repack_completion repack; echo "${{COMPREPLY[@]}}"'
    )
    assert shell("bash", "--norc", "-c", f"source ./script; {ask.format('ver', 1)}") == "verify\n"
    deeper = shell("bash", "--norc", "-c", f"source ./script; {ask.format('label --pr', 2)}")
    assert deeper == "--prove\n"


def test_fish_completes_commands_with_their_meaning(shell):
    said = shell("fish", "--no-config", "-c", 'source ./script; complete -C "repack ver"')
    assert said.startswith("verify\t")


def test_zsh_completes_commands(shell):
    assert "repack verify" in shell("zsh", "-f", "-c", ZSH)


def test_powershell_gets_type_value_and_meaning_of_each():
    """As its script asks: `$commandAst` in COMP_WORDS; three lines an answer."""
    script = CliRunner().invoke(repack, ["completion", "powershell"]).output
    assert "Register-ArgumentCompleter -Native -CommandName repack" in script
    done = subprocess.run(
        [sys.executable, "-m", "repack"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "_REPACK_COMPLETE": "powershell_complete",
             "COMP_WORDS": "repack label --prove ", "COMP_CWORD": "3"},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[:2] + lines[3:5] == ["plain", "linked", "plain", "solved"]


def test_every_command_is_offered():
    done = CliRunner(env={"_REPACK_COMPLETE": "bash_complete", "COMP_WORDS": "repack ",
                          "COMP_CWORD": "1"}).invoke(repack, [], prog_name="repack")  # fmt: skip
    offered = {line.removeprefix("plain,") for line in done.output.splitlines()}
    assert offered == set(COMMANDS)


def test_json_and_unknown_shells():
    answer = json.loads(CliRunner().invoke(repack, ["completion", "fish", "--json"]).output)
    assert answer["shell"] == "fish"
    assert "complete" in answer["script"]
    assert CliRunner().invoke(repack, ["completion", "tcsh"]).exit_code == 2


def test_the_schema_is_printed_as_it_lies_in_the_docs():
    printed = CliRunner().invoke(repack, ["schema"]).output
    kept = (ROOT / "docs" / "label.schema.json").read_text(encoding="utf-8")
    assert json.loads(printed) == json.loads(kept)
