"""The factors of this machine, as Linux's sysfs or Windows' firmware table and registry give them.

Everything is read as the user who runs repack; what needs more rights is reported as unreadable. Factors that change with a card, a disk or the kernel are not looked at (see
:mod:`repack.license.fingerprint`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from repack.codec.canonical import loads
from repack.codec.decode import decode
from repack.errors import FingerprintError, PlaceError
from repack.fs import atomic
from repack.license.fingerprint import Factors, factor_name
from repack.license.smbios import factors_of

_LIMIT: Final = 64 * 1024
_HOST: Final = "host"  # in a factors file: what this machine itself says
_FILE: Final = "file:"
# sysfs shows the SMBIOS fields; machine-id(5) is systemd's, and D-Bus kept it there before
_LINUX: Final = {
    "product_uuid": ("sys/class/dmi/id/product_uuid",),
    "board_serial": ("sys/class/dmi/id/board_serial",),
    "machine_id": ("etc/machine-id", "var/lib/dbus/machine-id"),
}
_RSMB: Final = 0x52534D42  # GetSystemFirmwareTable's name for the SMBIOS table
_RAW_HEADER: Final = 8  # struct RawSMBIOSData, before the table itself
_MACHINE_GUID: Final = r"SOFTWARE\Microsoft\Cryptography"


def read_factors(file: Path | None = None, root: Path = Path("/")) -> Factors:
    """The factors of this machine, or those a file names.

    Args:
        file: a JSON object of factor names and values, for dongles and for tests. A value
            ``"host"`` is what this machine says, ``"file:PATH"`` what stands in that file.
        root: where a Linux system has its root.

    Raises:
        FingerprintError: ``file`` holds no such object.
        PlaceError: ``file`` cannot be read.
    """
    if file is None:
        return Factors.of(*_host_factors(root))
    document = loads(atomic.read(file, _LIMIT), file, _LIMIT)
    if isinstance(document, dict) and isinstance(document.get("factors"), dict):
        document = document["factors"]
    sources = decode(dict[str, str | None], document, file, "factors file", FingerprintError)
    values: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    host: tuple[dict[str, str], dict[str, str]] | None = None
    for text, source in sources.items():
        name = factor_name(text)
        if source is None:
            unreadable[name] = "given as null"
        elif source == _HOST:
            host = host or _host_factors(root)
            if name in host[0]:
                values[name] = host[0][name]
            else:
                unreadable[name] = host[1].get(name, "this machine has none")
        elif source.startswith(_FILE):
            _read_into(name, (Path(source.removeprefix(_FILE)),), values, unreadable)
        else:
            values[name] = source
    return Factors.of(values, unreadable)


def _host_factors(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Values by name, and reasons by name for what could not be read."""
    if sys.platform == "win32":
        return _windows_factors()
    values: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for name, places in _LINUX.items():
        _read_into(name, tuple(root / place for place in places), values, unreadable)
    return values, unreadable


def _read_into(
    name: str, places: tuple[Path, ...], values: dict[str, str], unreadable: dict[str, str]
) -> None:
    reason = "not there"
    for place in places:
        try:
            text = atomic.read(place, _LIMIT).decode("utf-8", "surrogateescape").strip()
        except PlaceError as error:
            denied = isinstance(error.__cause__, PermissionError)
            reason = "only root may read it" if denied else "this system has none"
            continue
        if text:
            values[name] = text
            return
        reason = "empty"
    unreadable[name] = reason


def _windows_factors() -> tuple[dict[str, str], dict[str, str]]:
    """SMBIOS through kernel32, MachineGuid through the registry; neither needs an administrator."""
    values: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    if sys.platform == "win32":
        import ctypes
        import winreg

        kernel32 = ctypes.windll.kernel32
        size = kernel32.GetSystemFirmwareTable(_RSMB, 0, None, 0)
        buffer = ctypes.create_string_buffer(max(size, 1))
        kernel32.GetSystemFirmwareTable(_RSMB, 0, buffer, size)
        values.update(factors_of(buffer.raw[_RAW_HEADER:size]))
        try:
            access = winreg.KEY_READ | winreg.KEY_WOW64_64KEY
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _MACHINE_GUID, 0, access) as key:
                values["machine_guid"] = str(winreg.QueryValueEx(key, "MachineGuid")[0])
        except OSError as error:
            unreadable["machine_guid"] = (error.strerror or "not there").lower()
        for name in ("product_uuid", "board_serial"):
            if name not in values:
                unreadable[name] = "the firmware does not say"
    return values, unreadable
