"""The order of publishing as scripts, for those who may not run anything else."""

from __future__ import annotations

from importlib import resources

from repack.names import RelPath


def sync_scripts(folder: str = "") -> dict[RelPath, bytes]:
    """``sync.sh`` and ``sync.cmd``, by path below ``folder``, which ends with a slash."""
    windows = _data("sync.cmd").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return {
        RelPath(f"{folder}sync.sh"): _data("sync.sh"),
        RelPath(f"{folder}sync.cmd"): windows,
    }


def _data(name: str) -> bytes:
    return (resources.files("repack") / "shipped" / name).read_bytes()
