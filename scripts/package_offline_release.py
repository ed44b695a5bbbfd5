"""Packages models and strategies as a release archive.

    package_offline_release.py --version V --output A.tar.gz [--models-dir D] [--strategies-dir D]
        [--signing-key K] [--manifest-output F]

Needs Python 3.9 or newer and release_archive.py beside it, and nothing else. One JSON document goes
to standard output.
"""

import os
import sys

if sys.version_info < (3, 9):
    sys.exit(
        "package_offline_release.py needs Python 3.9 or newer; this is " + sys.version.split()[0]
    )

# Last, so that nothing beside this file takes the place of a module of the standard library
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if path not in ("", HERE)] + [HERE]

from release_archive import main  # type: ignore[import-not-found]  # noqa: E402

if __name__ == "__main__":
    sys.exit(main("package_offline_release.py", sys.argv[1:]))
