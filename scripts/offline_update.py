"""Prepares, verifies and installs release archives of models and strategies.

    offline_update.py prepare-release --version V --output A.tar.gz [--signing-key K]
    offline_update.py verify-release --archive A [--signing-key K] [--require-signature]
    offline_update.py install-release --archive A [--models-dir D] [--strategies-dir D]
        [--backup-dir D] [--signing-key K] [--require-signature] [--report F]

Needs Python 3.9 or newer and release_archive.py beside it, and nothing else. One JSON document goes
to standard output.
"""

import os
import sys

if sys.version_info < (3, 9):
    sys.exit("offline_update.py needs Python 3.9 or newer; this is " + sys.version.split()[0])

# Last, so that nothing beside this file takes the place of a module of the standard library
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if path not in ("", HERE)] + [HERE]

from release_archive import main  # type: ignore[import-not-found]  # noqa: E402

if __name__ == "__main__":
    sys.exit(main("offline_update.py", sys.argv[1:]))
