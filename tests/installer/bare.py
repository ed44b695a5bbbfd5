"""A root with busybox and nothing else, its network cut."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

BUSYBOX = shutil.which("busybox")
BWRAP = shutil.which("bwrap")


def bare_root(root: Path) -> Path:
    """A root folder whose only program is busybox, under all the names of its applets."""
    programs = root / "bin"
    programs.mkdir(parents=True)
    shutil.copy(BUSYBOX, programs / "busybox")
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for name in applets.stdout.split():
        if name != "busybox":
            (programs / name).symlink_to("busybox")
    for name in ("usr", "tmp", "root", "proc", "dev", "home"):
        (root / name).mkdir()
    (root / "usr" / "bin").symlink_to("../bin")
    return root


def run_bare(
    root: Path, *words: str, shown: dict[str, Path] | None = None, full: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``words`` in that root; ``shown`` are folders and files to see there, read-only.

    ``full`` is a folder that has 8 KiB.
    """
    command = [BWRAP, "--unshare-all", "--die-with-parent", "--clearenv", "--bind", str(root), "/"]
    command += ["--proc", "/proc", "--dev", "/dev"]
    for name, value in {"PATH": "/bin", "HOME": "/root", **variables}.items():
        command += ["--setenv", name, value]
    for place, path in (shown or {}).items():
        command += ["--ro-bind", str(path), place]
    if full:
        command += ["--size", "8192", "--tmpfs", full]
    return subprocess.run(
        [*command, "--chdir", "/", "--", *words],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
        timeout=300,
    )
