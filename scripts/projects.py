"""Packs a small project folder (``pyproject.toml`` and one package) as ``noarch: python``.

The two vendor packages of the demo are made this way, without any build backend.
"""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Final

from repack.wheels.requirements import Machine, depends, python_versions
from scripts import cpython
from scripts.archives import Kind, Recipe, pack

VENDOR: Final = Path(__file__).with_name("vendor")


def pack_project(folder: Path, channel: Path, kind: Kind = ".conda") -> Path:
    """Pack the project in ``folder`` into ``channel/noarch`` and return the archive."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    machine = Machine("linux-64", cpython.version())
    needs = [
        *depends(project["dependencies"], machine),
        python_versions(project["requires-python"]),
    ]
    recipe = Recipe(
        name=name,
        version=version,
        build="py_0",
        subdir="noarch",
        depends=tuple(sorted(needs)),
        noarch="python",
        entry_points=tuple(f"{k} = {v}" for k, v in sorted(project.get("scripts", {}).items())),
        license=project["license"],
        summary=project["description"],
    )
    with tempfile.TemporaryDirectory(prefix="repack-project-") as stage:
        site = Path(stage) / "site-packages"
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder / name, site / name, ignore=skip)
        about = site / f"{name}-{version}.dist-info"
        about.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (about / "METADATA").write_text(text, encoding="utf-8")
        (about / "INSTALLER").write_text("conda\n", encoding="ascii")
        return pack(recipe, Path(stage), channel, kind)
