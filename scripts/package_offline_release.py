"""Packages models and strategies as a release archive: ``repack bundle prepare``.

``package_offline_release.py --version V --output A.tar.gz --models-dir D --strategies-dir D
[--signing-key K] [--manifest-output F]`` prints one JSON document on stdout.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from repack.cli.main import leave, run

if __name__ == "__main__":
    leave(run(["bundle", "prepare", *sys.argv[1:], "--json"]))
