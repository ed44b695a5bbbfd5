"""Ends a program with a sentence where this Python is too old for repack.

It has to compile and run on the Python that it refuses, so nothing newer than Python 3.6 is here.
"""

import sys

OLDEST = (3, 11)


def require_python() -> None:
    """Return on a Python that repack runs on.

    Raises:
        SystemExit: it is too old; the sentence is on standard error.
    """
    if sys.version_info < OLDEST:
        needed = ".".join(map(str, OLDEST))
        version = sys.version.split()[0]
        raise SystemExit(
            f"repack needs Python {needed} or newer; this is Python {version} ({sys.executable})"
        )
