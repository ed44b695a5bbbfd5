"""This machine: its clock, its name, the user."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable


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
