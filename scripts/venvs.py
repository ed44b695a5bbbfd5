"""Makes the virtual environment a script runs in. Standard library only: it runs first."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
# Tests of one file share what is costly to make, so a file stays in one process. Much of a test is
# waiting: four processes are worth it on two cores, too.
PARALLEL: Final = ("-n", str(max(4, os.cpu_count() or 1)), "--dist", "loadfile")

# Megabytes on disk, about, by dependency group: said before they are used.
_SIZES: Final = {"demo": 280, "bench": 290, "docs": 280, "dev": 730}


def python_in(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ready(folder: Path, group: str, pins: Sequence[str] = (), *, without: str = "") -> Path:
    """Make or keep the environment ``folder`` with this project and a dependency group.

    It is kept while ``pyproject.toml``, the interpreter and the place of the clone stay.

    Args:
        folder: where the environment lies.
        group: a key of ``[dependency-groups]`` in ``pyproject.toml``.
        pins: requirements besides, such as ``tuf==6``.
        without: a package of the group that stays out.

    Returns:
        Its interpreter.

    Raises:
        SystemExit: pip or venv failed; their own words were printed.
    """
    text = (ROOT / "pyproject.toml").read_bytes()
    mark = hashlib.sha256(repr((sys.version, sys.base_prefix, str(ROOT), group)).encode() + text)
    stamp, python = folder / "made-from.txt", python_in(folder)
    if python.exists() and stamp.exists() and stamp.read_text("ascii") == mark.hexdigest():
        return python
    names = members(group)
    wanted = [name for name in names if not without or not name.startswith(without)]
    _create(folder, ["--editable", str(ROOT), *wanted, *pins], _SIZES.get(group, 0))
    stamp.write_text(mark.hexdigest(), "ascii")
    return python


def tool(folder: Path, arguments: list[str]) -> Path:
    """Make or keep an environment for somebody else's tool, with pip's own ``arguments``.

    Raises:
        SystemExit: pip or venv failed; their own words were printed.
    """
    stamp, python = folder / "made-from.txt", python_in(folder)
    mark = repr((sys.version, arguments))
    if not (python.exists() and stamp.exists() and stamp.read_text("utf-8") == mark):
        _create(folder, arguments)
        stamp.write_text(mark, "utf-8")
    return python


def project() -> dict[str, Any]:
    """What ``pyproject.toml`` says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def members(group: str) -> list[str]:
    """The requirements of a dependency group (PEP 735), included groups resolved."""
    requirements: list[str] = []
    for entry in project()["dependency-groups"][group]:
        requirements += members(entry["include-group"]) if isinstance(entry, dict) else [entry]
    return requirements


def _create(folder: Path, requirements: list[str], size: int = 0) -> None:
    about = f", {size} MB" if size else ""
    print(f"making the environment {folder}{about} …", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    if uv := shutil.which("uv"):
        _run([uv, "venv", "--quiet", "--seed", "--python", sys.executable, str(folder)])
        where = ["--python", str(python_in(folder))]
        _run([uv, "pip", "install", "--quiet", *where, *requirements])
        return
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(python_in(folder)), "-m", "pip", "install", "--quiet"]
    _run([*pip, "--disable-pip-version-check", *requirements])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode:
        raise SystemExit(f"failed, with exit code {done.returncode}: {' '.join(command)}")
