"""The SMBIOS table: what the firmware says about system and mainboard.

Linux splits it into files by itself; Windows hands it out whole (``GetSystemFirmwareTable``), to
any user. Source: DMTF DSP0134, System Management BIOS Reference Specification 3.7: 6.1.2
(structure header), 6.1.3 (text strings), 7.2 (System, type 1), 7.3 (Baseboard, type 2).
"""

from __future__ import annotations

import struct
import uuid
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYSTEM: Final = 1
_BASEBOARD: Final = 2
_HEADER: Final = struct.Struct("<BBH")
_UUID_AT: Final = 8
_SERIAL_AT: Final = 7


def factors_of(table: bytes) -> dict[str, str]:
    """``product_uuid`` and ``board_serial``, each when the table has one.

    A table that breaks off or makes no sense gives what could be read: this is firmware, and a
    missing factor is reported by whoever asks.
    """
    factors: dict[str, str] = {}
    for kind, fields, strings in _structures(table):
        if kind == _SYSTEM and len(fields) >= _UUID_AT + 16:
            # From SMBIOS 2.6 on the first three fields are little-endian (7.2.1); Linux reads it so
            system = uuid.UUID(bytes_le=fields[_UUID_AT : _UUID_AT + 16])
            factors.setdefault("product_uuid", str(system))
        elif kind == _BASEBOARD and len(fields) > _SERIAL_AT:
            number = fields[_SERIAL_AT]
            if 0 < number <= len(strings):
                factors.setdefault("board_serial", strings[number - 1])
    return factors


def _structures(table: bytes) -> Iterator[tuple[int, bytes, list[str]]]:
    at = 0
    while at + _HEADER.size <= len(table):
        kind, length, _handle = _HEADER.unpack_from(table, at)
        end = table.find(b"\x00\x00", at + length)
        if length < _HEADER.size or end < 0:
            return
        strings = table[at + length : end].decode("latin-1").split("\x00")
        yield kind, table[at : at + length], [text for text in strings if text]
        at = end + 2
