"""How much room is left at a place that only rsync reaches.

rsync has no word for it. Where ssh carries it, ``df`` can be asked, if whoever runs that machine
lets us run it; a daemon cannot be asked at all.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from repack.sync.rsync import Remote

_PLACE: Final = re.compile(r"((?:[^@/]+@)?)(\[[^\]]+\]|[^:/\[\]]+):(?!:)(.*)", re.DOTALL)
# POSIX, df -P: blocks of 1024 bytes, used, available, per cent
_ROW: Final = re.compile(r"\s\d+\s+\d+\s+(\d+)\s+\d+%\s")
_PATIENCE: Final = 20


def remote_room(place: Remote) -> int | None:
    """Bytes that are free there; None where that cannot be asked."""
    found = _PLACE.fullmatch(place.target)
    if found is None or place.target.lower().startswith("rsync://"):
        return None
    user, host, path = found.groups()
    parent = path.rstrip("/").rpartition("/")[0] or "."
    asked = [f"df -Pk -- {shlex.quote(one)}" for one in (path or ".", parent)]
    # never a second question for a password: then nobody can say
    shell = [*shlex.split(os.environ.get("RSYNC_RSH") or "ssh"), "-o", "BatchMode=yes"]
    port = ["-p", str(place.port)] if place.port else []
    try:
        done = subprocess.run(
            [*shell, *port, f"{user}{host.strip('[]')}", f"{asked[0]} 2>/dev/null || {asked[1]}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    rows = _ROW.findall(done.stdout.decode(errors="replace"))
    return int(rows[-1]) * 1024 if done.returncode == 0 and rows else None
