"""Compare this device with a fingerprint document: 0 when it is the one, 6 when it is not.

``verify_fingerprint.py --expected fingerprint.expected.json [--key KEY] [--factors FILE]`` prints
JSON: what was expected, what is here, and the factors that differ. Without ``--key`` the key is the
one in ``OEM_LICENSE_HMAC_KEY``, as for the other licence commands.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.oldest import require_python

require_python()

from repack.cli.main import leave, run  # noqa: E402

if __name__ == "__main__":
    given = sys.argv[1:]
    if "--expected" not in given and not any(text.startswith("--expected=") for text in given):
        given = [*given, "--expected", "fingerprint.expected.json"]
    leave(run(["license", "fingerprint", "--json", *given]))
