"""What kind of volume a folder lies on, and how much room is left."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from repack.fs import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


FileSystem = Literal["fat32", "exfat", "other"]
# Microsoft, "File System Functionality Comparison": FAT32 ends at 4 GiB less one byte.
FAT32_LIMIT: Final = (1 << 32) - 1


_KINDS: Final[dict[str, FileSystem]] = {
    "vfat": "fat32",
    "msdos": "fat32",
    "fat": "fat32",
    "fat32": "fat32",
    "exfat": "exfat",
    # mounted through FUSE; what is behind it is said by the superblock only, so take the stricter
    "fuse.exfat": "exfat",
    "fuse.fusefat": "fat32",
}
_MOUNTS: Final = "/proc/self/mounts"


def volume(folder: Path, kind: FileSystem | None = None) -> Volume:
    """The volume on which ``folder`` is or will be; ``kind`` overrides what the system says.

    Raises:
        PlaceError: no parent of ``folder`` can be looked at.
    """
    existing = _nearest_existing(folder)
    with atomic.os_errors_at(existing):
        usage = shutil.disk_usage(existing)
        # Some network and FUSE file systems don't count; what is full will say so.
        free = usage.free if usage.total else sys.maxsize
        return Volume(kind or _kind(existing.resolve()), free, _cluster(existing))


def _cluster(folder: Path) -> int:
    if sys.platform == "win32":
        return 4096
    return os.statvfs(folder).f_frsize or 4096


def _kind(folder: Path) -> FileSystem:
    name = _windows_name(folder) if sys.platform == "win32" else _mounted_name(folder)
    return _KINDS.get(name.lower(), "other")


def _mounted_name(folder: Path) -> str:
    """The type of the innermost mount that holds ``folder``, as ``mount`` says it."""
    best, name = "", ""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as table:  # noqa: PTH123
            rows = [line.split(" ") for line in table]
    except OSError:
        return ""
    for _, point, kind, *_ in rows:
        # proc(5): blanks and backslashes stand as octal escapes
        path = point.encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")
        inside = path == "/" or str(folder) == path or str(folder).startswith(f"{path}/")
        if inside and len(path) >= len(best):
            best, name = path, kind
    # FUSE's block devices (exfat-fuse, ntfs-3g) all say "fuseblk".
    return "exfat" if name == "fuseblk" and _lacks_links(folder) else name


def _lacks_links(folder: Path) -> bool:
    probe = folder / f"{atomic.TEMP_PREFIX}probe-{os.getpid()}"
    try:
        probe.touch()
        try:
            os.link(probe, f"{probe}-link")
        except OSError:
            return True
        atomic.remove(probe.with_name(f"{probe.name}-link"))
    except OSError:
        return False
    else:
        return False
    finally:
        atomic.remove(probe)


def _windows_name(folder: Path) -> str:
    if sys.platform != "win32":
        return ""
    import ctypes

    name = ctypes.create_unicode_buffer(64)
    root = f"{folder.anchor}"
    ask = ctypes.windll.kernel32.GetVolumeInformationW
    return name.value if ask(root, None, 0, None, None, None, name, len(name)) else ""


class Volume(Struct, frozen=True):
    """What a place can hold.

    Attributes:
        free: bytes.
        cluster: every file takes a multiple of this.
    """

    kind: FileSystem
    free: int
    cluster: int = 4096

    def needs(self, sizes: Iterable[int]) -> int:
        """Bytes that files of these sizes take there, in whole clusters."""
        return sum(-(-size // self.cluster) * self.cluster for size in sizes)


def free_bytes(path: Path) -> int:
    """Free space for this user where ``path`` is or will be.

    Raises:
        PlaceError: no parent of ``path`` can be looked at.
    """
    existing = _nearest_existing(path)
    with atomic.os_errors_at(existing):
        return shutil.disk_usage(existing).free


def _nearest_existing(path: Path) -> Path:
    return next((p for p in (path, *path.absolute().parents) if p.exists()), path)
