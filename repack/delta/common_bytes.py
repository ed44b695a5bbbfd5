"""What two stretches of bytes have in common, and how to copy it from file to file."""

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
# Searching the other stretch for a probe takes milliseconds, so not at every step.
_SEARCH: Final = 256 << 10
_COMPARE: Final = 64 << 10


class Run(Struct, frozen=True):
    """Bytes that both have: where in the one, where in the other, how many."""

    at: int
    there: int
    size: int


def runs(own: bytes, other: bytes, shift: int, least: int) -> Iterator[Run]:
    """The runs of at least ``least`` bytes, in order, that do not overlap in ``own``.

    Args:
        shift: how much further on in ``other`` the same is thought to lie.
    """
    at, end, searched = 0, 0, -_SEARCH
    while at + _PROBE <= len(own):
        probe = own[at : at + _PROBE]
        there = at + shift
        if there < 0 or other[there : there + _PROBE] != probe:
            if at - searched < _SEARCH:
                at += _STEP
                continue
            searched, there = at, other.find(probe)
            if there < 0:
                at += _STEP
                continue
            shift = there - at
        back = _common(own[end:at][::-1], other[max(0, there - at + end) : there][::-1])
        size = _common_from(own, at, other, there)
        if back + size >= least:
            end = at + size
            yield Run(at - back, there - back, back + size)
        at += max(size, _STEP)


def _common(one: bytes, other: bytes) -> int:
    """How many bytes are the same at the beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_from(one: bytes, at: int, other: bytes, there: int) -> int:
    size = 0
    while True:
        pieces = (
            one[at + size : at + size + _COMPARE],
            other[there + size : there + size + _COMPARE],
        )
        if len(pieces[0]) < _COMPARE or pieces[0] != pieces[1]:
            return size + _common(*pieces)
        size += _COMPARE


def copy(source: IO[bytes], start: int, count: int, out: IO[bytes]) -> None:
    """Copy ``count`` bytes of a file to another one, inside the system where it can.

    Raises:
        IntegrityError: there are not so many.
        OSError: the disk is full, or one of the files cannot be used.
    """
    out.flush()
    left, inside = count, hasattr(os, "copy_file_range")
    while left and inside:
        try:
            done = os.copy_file_range(source.fileno(), out.fileno(), left, start + count - left)
        except OSError as error:
            if error.errno in atomic.NO_SPACE:
                raise
            inside = False  # other file systems, or one that cannot; try by hand
        else:
            inside = done > 0
            left -= done
    source.seek(start + count - left)
    while left:
        data = source.read(min(atomic.CHUNK, left))
        if not data:
            raise IntegrityError("the patch wants more of its base than there is")
        out.write(data)
        left -= len(data)
