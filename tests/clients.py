"""Real condas to install with, as a customer has them.

``current`` is CONDA_EXE or the ``conda`` on PATH, 4.7 or newer. ``old`` is conda 4.3.16 as
``scripts/old_conda.py`` makes it, or OLD_CONDA_EXE. A test whose conda is not there is skipped and
says what to do.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from repack.prefix.sandbox import network_cutter

Age = Literal["current", "old"]
OLD = Path(__file__).parent.parent / ".test" / "conda-4.3.16" / "bin" / "conda"
# What would let the machine's own configuration in.
DROPPED = ("CONDA", "MAMBA", "PYTHON", "XDG_", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Conda:
    """A conda that runs."""

    age: Age
    path: str
    version: tuple[int, ...]

    def run(
        self, *arguments: str, home: Path, condarc: str = "", **more: str
    ) -> subprocess.CompletedProcess:
        """Run it with its network cut, its home in ``home`` and no configuration but ``condarc``."""
        rc = home / "condarc.yml"
        home.mkdir(parents=True, exist_ok=True)
        rc.write_text(condarc, encoding="utf-8")
        return subprocess.run(
            [*network_cutter(), self.path, *arguments],
            env=environment(home, CONDARC=str(rc), **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def install(self, url: str, prefix: Path, *specs: str, home: Path) -> str:
        """Install as a customer without our installer would: a condarc, ``create --offline``."""
        condarc = f"""
            channels: ["{url}"]
            default_channels: []
            offline: true
            pkgs_dirs: ["{home}/pkgs"]
            {"solver: classic" if self.age == "current" else ""}
            """
        condarc = "\n".join(line.strip() for line in condarc.splitlines())
        command = ["create", "--yes", "--offline", "--override-channels", "-c", url]
        done = self.run(*command, "-p", str(prefix), *specs, home=home, condarc=condarc)
        assert done.returncode == 0, done.stdout
        return done.stdout


def environment(home: Path, **more: str) -> dict[str, str]:
    """Variables for a program that must not see how this machine is configured."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED)}
    return {**kept, "HOME": str(home), **more}


def installed(prefix: Path) -> set[str]:
    """What is in an environment, as name-version-build."""
    return {path.stem for path in (prefix / "conda-meta").glob("*-*-*.json")}


@functools.cache
def conda(age: Age) -> Conda | str:
    """The conda of that age, or why there is none."""
    if age == "old":
        path = os.environ.get("OLD_CONDA_EXE") or (str(OLD) if OLD.is_file() else None)
        missing = "no conda 4.3: run scripts/old_conda.py (needs a Python 3.6)"
    else:
        path = os.environ.get("CONDA_EXE") or shutil.which("conda")
        missing = "no conda: put one on PATH or set CONDA_EXE"
    if path is None:
        return missing
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)\.(\d+)\.?(\d*)", said.stdout + said.stderr)
    if said.returncode or found is None:
        return f"{path} does not run"
    version = tuple(int(part or 0) for part in found.groups())
    if (version < (4, 7)) != (age == "old"):
        return f"{path} is conda {'.'.join(map(str, version))}; {missing}"
    return Conda(age, path, version)


def need(age: Age) -> Conda:
    """The conda of that age; skips the test when there is none."""
    found = conda(age)
    if isinstance(found, str):
        pytest.skip(found)
    if not network_cutter():
        pytest.skip("this system cannot take a process's network away")
    return found
