"""The licence store's commands under the name that support's checklists use.

``offline_portal.py status|verify|recover|install|revoke …`` is ``repack license …``.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.oldest import require_python

require_python()

from repack.cli.main import leave, run  # noqa: E402

if __name__ == "__main__":
    leave(run(["license", *sys.argv[1:]]))
