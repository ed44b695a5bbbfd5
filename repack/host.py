"""This machine: its clock, its name, the user, and which boot this is."""

from __future__ import annotations

import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable


_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_BOOT_TIME: Final = "boot-time:"
# Windows tells how long it runs; the clock that this is taken from may be corrected meanwhile.
_BOOT_SLACK: Final = 30


def boot_id() -> str | None:
    """What tells this boot from every other one; None where the system does not say.

    Linux has a random identifier for each boot, which containers share with their host. Windows has
    the time of the boot.
    """
    if sys.platform == "win32":
        import ctypes

        ticks = ctypes.windll.kernel32.GetTickCount64
        ticks.restype = ctypes.c_uint64
        return f"{_BOOT_TIME}{time.time() - ticks() / 1000:.0f}"
    try:
        return _BOOT_ID.read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None


def is_same_boot(one: str | None, other: str | None) -> bool:
    """Whether two boot identifiers certainly are of one boot."""
    if one is None or other is None:
        return False
    try:
        times = [int(text.removeprefix(_BOOT_TIME)) for text in (one, other)]
    except ValueError:
        return one == other
    return abs(times[0] - times[1]) <= _BOOT_SLACK


def now() -> datetime:
    """The time this machine believes it is."""
    return datetime.now(UTC).replace(microsecond=0)


class HostFacts(Struct, frozen=True):
    """What support asks first; nothing of it identifies the device."""

    system: str
    release: str
    machine: str
    python: str
    user_is_admin: bool


def host_facts() -> HostFacts:
    """Describe this machine."""
    return HostFacts(
        system=platform.system(),
        release=platform.release(),
        machine=platform.machine(),
        python=platform.python_version(),
        user_is_admin=_is_admin(),
    )


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of those distributions that are installed."""
    from importlib.metadata import distributions

    installed = ((name, next(iter(distributions(name=name)), None)) for name in names)
    return {
        name: distribution.version for name, distribution in installed if distribution is not None
    }


def _is_admin() -> bool:
    if sys.platform == "win32":
        import ctypes

        return bool(ctypes.windll.shell32.IsUserAnAdmin())
    return os.geteuid() == 0
