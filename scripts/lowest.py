"""Runs the fast tests on the lowest versions that repack declares: ``python3 scripts/lowest.py``.

Makes its environment in ``.test/lowest``. What a bound promises is tried here, and nowhere else: pip
takes the newest version wherever it may. Arguments go to pytest.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.oldest import require_python  # noqa: E402 - found by the line above

require_python()

from scripts import venvs  # noqa: E402

# Of the extra `wheels`; it asks for newer versions of what repack itself takes at its bound.
WITHOUT = "conda-pypi"


def lowest(requirement: str) -> str:
    """A requirement with a lower bound (PEP 508) as the one version at that bound."""
    pinned = re.sub(r">=\s*([\w.]+)[^;]*", r"==\1", requirement)
    if "==" not in pinned:
        raise SystemExit(f"pyproject.toml: no lower bound: {requirement}")
    return pinned


def main() -> int:
    """Make the environment and run the fast tests in it."""
    pins = [lowest(requirement) for requirement in venvs.project()["project"]["dependencies"]]
    python = venvs.ready(ROOT / ".test" / "lowest", "dev", pins, without=WITHOUT)
    command = [str(python), "-m", "pytest", "-m", "not slow and not soak", *venvs.PARALLEL]
    command += ["--ignore", "tests/wheels"]
    return subprocess.call([*command, *sys.argv[1:]], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
