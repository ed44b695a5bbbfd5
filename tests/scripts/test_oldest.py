"""On a Python that is too old, programs end with a sentence."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Started by their path, on whatever Python is called `python3`.
PROGRAMS = {
    "benchmarks/run.py": "3.11",
    "scripts/bare.py": "3.11",
    "scripts/demo.py": "3.11",
    "scripts/lowest.py": "3.11",
    "scripts/offline_portal.py": "3.11",
    "scripts/offline_update.py": "3.9",
    "scripts/old_conda.py": "3.11",
    "scripts/package_offline_release.py": "3.9",
    "scripts/programs.py": "3.11",
    "scripts/repackenv.py": "3.8",
    "scripts/test.py": "3.11",
    "scripts/update_offline_repo.py": "3.8",
    "scripts/update_package.py": "3.11",
    "scripts/verify_fingerprint.py": "3.11",
    "scripts/windows_python.py": "3.11",
}
# Started by `python -m scripts.NAME` in an environment that one of the programs made.
MODULES = {
    "check",
    "docs",
    "environment_yml",
    "install",
    "upstream",
    "walkthrough",
}
OLD = ("3.8", "3.9", "3.10")
# Starts a program as if this Python were another.
DISGUISED = """
import runpy, sys
sys.version_info = (3, int(sys.argv[2]), 18, "final", 0)
sys.argv = sys.argv[1:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_every_program_is_here():
    started = {
        f"scripts/{path.name}"
        for path in (ROOT / "scripts").glob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    named = {name for name in PROGRAMS if name.startswith("scripts/")}
    assert started - named == {f"scripts/{name}.py" for name in MODULES}


def oldest_python(program: str) -> tuple[int, int]:
    major, minor = PROGRAMS[program].split(".")
    return int(major), int(minor)


@pytest.mark.parametrize("program", [*PROGRAMS, "scripts/oldest.py"])
def test_it_compiles_there(program):
    text = (ROOT / program).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 8))


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_sentence(program):
    newest = oldest_python(program)[1] - 1
    done = run([sys.executable, "-c", DISGUISED, str(ROOT / program), str(newest)])
    assert done.returncode == 1
    assert f"needs Python {PROGRAMS[program]} or newer" in done.stderr
    assert "Traceback" not in done.stderr


def pythons(version: str) -> list[str]:
    """Interpreters of an old version on this machine: on PATH, or kept by pyenv."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    kept = sorted(home.glob(f"versions/{version}.*/bin/python"))
    onpath = shutil.which(f"python{version}")
    return [*map(str, kept), *([onpath] if onpath else [])]


@pytest.mark.parametrize("version", OLD)
def test_on_the_old_ones_themselves(version):
    python = next(iter(pythons(version)), None)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    minor = int(version.partition(".")[2])
    for program, needed in PROGRAMS.items():
        if minor < oldest_python(program)[1]:
            done = run([python, str(ROOT / program)])
            assert done.returncode == 1, program
            assert f"needs Python {needed} or newer" in done.stderr, program
            assert "Traceback" not in done.stderr


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
