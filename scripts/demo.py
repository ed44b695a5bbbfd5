"""Shows repack on a fresh machine: ``python3 scripts/demo.py``.

Needs Python 3.11 or newer and a package index, nothing else. Everything it makes lies in
``.demo/``; remove that folder to start afresh. This file makes the environment, the show itself is
``scripts/walkthrough.py``.
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
    """Make the environment and run the show in it."""
    python = venvs.ready(ROOT / ".demo" / "venv", "demo")
    return subprocess.call([python, "-m", "scripts.walkthrough"], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
