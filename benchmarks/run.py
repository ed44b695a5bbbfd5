"""Measures repack against its yardsticks: ``python3 benchmarks/run.py [--rounds 5] [--write]``.

Needs Python 3.11, a package index and nginx (installed from Debian when it is missing and we are
root). Everything it makes lies in ``.bench/``: about 4 GB. This file makes the environments, one
for repack and one for each other tool; ``benchmarks/suite.py`` measures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.oldest import require_python  # noqa: E402 - found by the line above

require_python()

from scripts import venvs  # noqa: E402

TOOLS: Final = {
    "conda-ship": ["--no-deps", "conda-ship==0.11.*"],
    "conda-mirror": ["conda-mirror==0.10.*", "setuptools<81"],
}


def main() -> int:
    """Make the environments and measure."""
    home = ROOT / ".bench"
    python = venvs.ready(home / "venv", "bench")
    for name, wanted in TOOLS.items():
        venvs.tool(home / "tools" / name, wanted)
    return subprocess.call([python, "-m", "benchmarks.suite", *sys.argv[1:]], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
