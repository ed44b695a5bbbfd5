"""The bytes that two stretches have in common, and how to copy them from file to file.

Raw patches need this: what both packages have as it is must be copied inside the system, not
decompressed, or applying a patched delta takes longer than 1.5 times a copy.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct

from repack.errors import IntegrityError
from repack.fs import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROBE: Final = 64
_STEP: Final = 4096
# Searching all of the other stretch for a probe takes milliseconds, so not at every step.
_SEARCH: Final = 256 << 10
_COMPARE: Final = 64 << 10


class Run(Struct, frozen=True):
    """Bytes that both have: where in the new, where in the base, how many."""

    start: int
    base_start: int
    size: int


def runs(new: bytes, base: bytes, shift: int, min_size: int) -> Iterator[Run]:
    """The runs of at least ``min_size`` bytes, in order, that do not overlap in ``new``.

    Args:
        shift: how much further on in ``base`` the same is thought to lie.
    """
    at, end, searched = 0, 0, -_SEARCH
    while at + _PROBE <= len(new):
        # Compare at the shift of the run before; only now and then search the base for the probe.
        probe = new[at : at + _PROBE]
        base_at = at + shift
        if base_at < 0 or base[base_at : base_at + _PROBE] != probe:
            if at - searched < _SEARCH:
                at += _STEP
                continue
            searched, base_at = at, base.find(probe)
            if base_at < 0:
                at += _STEP
                continue
            shift = base_at - at
        # The probe lies somewhere in a run: extend it to both sides.
        before = _common_start(new[end:at][::-1], base[max(0, base_at - at + end) : base_at][::-1])
        size = _common_from(new, at, base, base_at)
        if before + size >= min_size:
            end = at + size
            yield Run(at - before, base_at - before, before + size)
        at += max(size, _STEP)


def _common_start(first: bytes, second: bytes) -> int:
    """How many bytes are the same at the beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_from(new: bytes, at: int, base: bytes, base_at: int) -> int:
    size = 0
    while True:
        piece = new[at + size : at + size + _COMPARE]
        base_piece = base[base_at + size : base_at + size + _COMPARE]
        if len(piece) < _COMPARE or piece != base_piece:
            return size + _common_start(piece, base_piece)
        size += _COMPARE


def copy_range(source: IO[bytes], start: int, size: int, out: IO[bytes]) -> None:
    """Copy ``size`` bytes of a file to another one, inside the system where it can.

    Raises:
        IntegrityError: there are not so many.
        OSError: the disk is full, or one of the files cannot be used.
    """
    out.flush()
    end, left, in_kernel = start + size, size, hasattr(os, "copy_file_range")
    while left and in_kernel:
        try:
            count = os.copy_file_range(source.fileno(), out.fileno(), left, end - left)
        except OSError as error:
            if error.errno in atomic.NO_SPACE:
                raise
            in_kernel = False  # other file systems, or one that cannot: read and write instead
        else:
            in_kernel = count > 0
            left -= count
    source.seek(end - left)
    while left:
        data = source.read(min(atomic.CHUNK, left))
        if not data:
            raise IntegrityError("the patch wants more of its base than there is")
        out.write(data)
        left -= len(data)
