"""Programs that some tests need besides Python: ``python3 scripts/programs.py`` lists the missing.

It prints the Debian packages of those that are not on this machine, one a line.
"""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.oldest import require_python  # noqa: E402 - found by the line above

require_python()

from typing import Final  # noqa: E402

# Program -> Debian package.
PROGRAMS: Final = {
    "bwrap": "bubblewrap",
    "busybox": "busybox",
    "fish": "fish",
    "fusefat": "fusefat",
    "mkfs.exfat": "exfatprogs",
    "mkfs.vfat": "dosfstools",
    "mount.exfat-fuse": "exfat-fuse",
    "nginx": "nginx-light",
    "rsync": "rsync",
    "shellcheck": "shellcheck",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "unshare": "util-linux",
    "zsh": "zsh",
    "zstd": "zstd",
}


def missing() -> list[str]:
    """The Debian packages of the programs that are not here."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return sorted(
        {package for name, package in PROGRAMS.items() if shutil.which(name, path=path) is None}
    )


if __name__ == "__main__":
    print("\n".join(missing()))
