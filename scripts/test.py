"""Runs everything the checks run: ``python3 scripts/test.py [pytest arguments]``.

Makes its environment in ``.test/venv`` with this project and its development tools, then runs
``scripts/check.py`` there. Tests run in several processes; ``-n 0`` runs them in one, as ``--pdb`` needs.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.oldest import require_python  # noqa: E402 - found by the line above

require_python()

from scripts import venvs  # noqa: E402


def main() -> int:
    """Make the environment and check everything in it."""
    python = venvs.ready(ROOT / ".test" / "venv", "dev")
    return subprocess.call([python, "-m", "scripts.check", *sys.argv[1:]], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
