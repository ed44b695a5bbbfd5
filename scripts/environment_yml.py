"""Generates ``environment.yml`` from ``pyproject.toml``: ``python -m scripts.environment_yml``.

``--check`` writes nothing and fails if the file is not up to date. Everything comes from conda
channels; pip adds the clone itself, ``--editable .``, and finds its dependencies installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "environment.yml"
# What conda-forge calls otherwise than the package index.
CONDA_NAMES: Final = {"backports-zstd": "backports.zstd", "ruamel-yaml": "ruamel.yaml"}
# For work on channels beside repack: building and indexing packages, running the tests.
TOOLS: Final = ("conda-build", "conda-index", "pip", "pytest")


def to_conda(requirement: str) -> str:
    """A requirement of the package index (PEP 508) as a conda spec, without its marker."""
    match = re.fullmatch(r"([\w.-]+)(.*)", requirement.partition(";")[0].strip())
    if match is None:
        raise SystemExit(f"pyproject.toml: no requirement: {requirement}")
    name, bounds = match.groups()
    return f"{CONDA_NAMES.get(name, name)} {bounds}".strip()


def environment_yml() -> str:
    """The text of ``environment.yml``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    specs = [*map(to_conda, project["dependencies"]), *TOOLS]
    lines = [
        "# For conda users: conda env create -f environment.yml",
        "# Generated from pyproject.toml by `python -m scripts.environment_yml`; change that file.",
        "name: repack",
        "channels: [conda-forge, nodefaults]",
        "dependencies:",
        f"  - python {project['requires-python']}",
        *(f"  - {spec}" for spec in sorted(specs)),
        "  - pip:",
        "      - --editable .",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the file, or with ``--check`` compare it."""
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(environment_yml(), "utf-8")
    elif TARGET.read_text("utf-8") != environment_yml():
        print("environment.yml is not what pyproject.toml says: python -m scripts.environment_yml")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
