"""Which packages of a delta go as patches: those that save most for the time that they take.

Nothing here looks at a clock: the same releases must give the same delta, so times are reckoned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.delta.patch_format import Part
    from repack.names import RelPath

# Bytes a second that a stream is compressed with, by kind and the highest level of that speed.
# Measured on one core, rounded.
_SPEEDS: Final = (
    ("zstd", 3, 150e6),
    ("zstd", 6, 50e6),
    ("zstd", 9, 30e6),
    ("zstd", 12, 15e6),
    ("zstd", 15, 6e6),
    ("zstd", 22, 2e6),
    ("bz2", 9, 10e6),
)
_RAW: Final = 500e6
# Applying shall not take longer than 1.5 times copying and hashing the channel.
_COPYING: Final = 700e6
_MORE: Final = 0.5
_AT_ONCE: Final = 2
_UNNOTICED: Final = 0.25
# Without a word on the way to the target, a patch is worth it from so many bytes saved on, so many
# a second of work, and this part of the package.
_LEAST: Final = 64 << 10
_LEAST_SPEED: Final = 1e6
_LEAST_SHARE: Final = 8


class PatchCandidate(Struct, frozen=True):
    """One way for a package to travel as a patch.

    Attributes:
        whole: bytes of the package.
        size: bytes of the patch.
        parts: what it is made of.
    """

    whole: int
    size: int
    parts: tuple[Part, ...]

    @property
    def saved(self) -> int:
        """Bytes that need not travel."""
        return self.whole - self.size

    @property
    def pressed(self) -> float:
        """Seconds that compressing again takes, on one core."""
        return sum(_seconds(part) for part in self.parts)

    @property
    def seconds(self) -> float:
        """Seconds that making the package takes, on one core."""
        return self.whole / _RAW + self.pressed


def _seconds(part: Part) -> float:
    if part.recipe is None:
        return 0.0
    kind, level = part.recipe.kind, part.recipe.level
    return part.unpacked / next(s for name, top, s in _SPEEDS if name == kind and level <= top)


def pays(way: PatchCandidate, carry: float | None) -> bool:
    """Whether a patch is worth its work at all. Arguments as for :func:`choose`."""
    if carry is not None:
        return carry > 0 and way.saved / carry > way.seconds
    least = max(_LEAST, way.whole / _LEAST_SHARE, _LEAST_SPEED * way.pressed)
    return way.saved >= least


def choose(
    ways: Mapping[RelPath, Sequence[PatchCandidate]], channel: int, carry: float | None
) -> dict[RelPath, PatchCandidate]:
    """The way that each package goes which goes as a patch.

    Args:
        channel: bytes of the channel that is made.
        carry: bytes a second that the way to the target takes: a patch pays where carrying what it
            saves takes longer than making the package, and of two the one that is sooner there.
            None: what saves most for its time, as long as applying stays within the limit.
    """
    paying = {path: [one for one in some if pays(one, carry)] for path, some in ways.items()}
    if carry is not None:
        return {
            path: max(some, key=lambda way: way.saved / carry - way.seconds)
            for path, some in paying.items()
            if some
        }
    chosen = {
        path: max(free, key=lambda way: way.saved)
        for path, some in paying.items()
        if (free := [way for way in some if not way.pressed])
    }
    each = max(_UNNOTICED, _MORE * channel / _COPYING)
    left = each * _AT_ONCE
    rows = [(path, way) for path, some in paying.items() for way in some if way.pressed]
    for path, way in sorted(rows, key=lambda row: -_gain(row[1], chosen.get(row[0]))):
        if way.pressed <= min(each, left) and _gain(way, chosen.get(path)) > 0:
            chosen[path] = way
            left -= way.pressed
    return chosen


def _gain(way: PatchCandidate, free: PatchCandidate | None) -> float:
    """Bytes a second that it saves beyond a way that costs nothing."""
    return (way.saved - (free.saved if free else 0)) / way.pressed
