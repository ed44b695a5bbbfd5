"""Every check there is, in one go: format, lint, types, documentation, tests.

``python -m scripts.check [pytest arguments]`` in an environment with the ``dev`` group. All checks
run even if one fails; the tests come last, so their summary is the last line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from scripts.venvs import PARALLEL

ROOT: Final = Path(__file__).resolve().parent.parent
CHECKS: Final = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "docs": ["scripts.docs", "--check"],
    "site": ["mkdocs", "build", "--strict", "--quiet", "--site-dir", ".test/site"],
    "tests": ["pytest", *PARALLEL],
}


def main() -> int:
    """Run all checks and return 1 if one failed."""
    failed: list[str] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    for name, command in CHECKS.items():
        extra = sys.argv[1:] if name == "tests" else []
        before = f" (failed so far: {', '.join(failed)})" if failed else ""
        print(f"== {name}{before}", flush=True)
        if subprocess.call([sys.executable, "-m", *command, *extra], cwd=ROOT, env=environment):
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
