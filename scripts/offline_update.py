"""Prepares, verifies and installs release archives of models and strategies.

``offline_update.py prepare-release|verify-release|install-release …`` is ``repack bundle
prepare|verify|install … --json``: one JSON document on stdout.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from repack.cli.main import leave, run

_COMMANDS = {f"{name}-release": name for name in ("prepare", "verify", "install")}

if __name__ == "__main__":
    match sys.argv[1:]:
        case [name, *rest] if name in _COMMANDS:
            leave(run(["bundle", _COMMANDS[name], *rest, "--json"]))
        case ["-h" | "--help", *_]:
            print(__doc__)
        case _:
            print(f"usage: offline_update.py {'|'.join(_COMMANDS)} …", file=sys.stderr)
            leave(2)
