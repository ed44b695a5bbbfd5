"""Which packages of a delta go as patches: those that save most for the time that they take.

The same releases must give the same delta, so times are estimated from a table, never measured.
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
_RAW_SPEED: Final = 500e6
# Applying shall not take longer than 1.5 times copying and hashing the channel at this speed.
_COPY_SPEED: Final = 700e6
_EXTRA_TIME: Final = 0.5
_WORKERS: Final = 2
# Seconds of compressing that are always allowed: in a small channel nobody notices them.
_ALWAYS_ALLOWED: Final = 0.25
# Where the speed of the way to the target is not given, a patch must save so many bytes, so many for
# each second of work, and this part of the package.
_MIN_SAVED: Final = 64 << 10
_MIN_SAVED_PER_SECOND: Final = 1e6
_MIN_SHARE: Final = 8


class PatchCandidate(Struct, frozen=True):
    """A patch that a package can travel as.

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
    def compressing(self) -> float:
        """Seconds that compressing again takes, on one core."""
        return sum(_seconds(part) for part in self.parts)

    @property
    def seconds(self) -> float:
        """Seconds that rebuilding the package takes, on one core."""
        return self.whole / _RAW_SPEED + self.compressing


def _seconds(part: Part) -> float:
    if part.recipe is None:
        return 0.0
    kind, level = part.recipe.kind, part.recipe.level
    speed = next(s for name, highest, s in _SPEEDS if name == kind and level <= highest)
    return part.unpacked / speed


def pays(candidate: PatchCandidate, carry: float | None) -> bool:
    """Whether a patch is worth its work at all. Arguments as for :func:`choose`."""
    if carry is not None:
        return carry > 0 and candidate.saved / carry > candidate.seconds
    return candidate.saved >= max(
        _MIN_SAVED,
        candidate.whole / _MIN_SHARE,
        _MIN_SAVED_PER_SECOND * candidate.compressing,
    )


def choose(
    candidates: Mapping[RelPath, Sequence[PatchCandidate]], channel: int, carry: float | None
) -> dict[RelPath, PatchCandidate]:
    """The patch of each package that goes as a patch.

    Args:
        candidates: the patches that were tried, by the package's path.
        channel: bytes of the channel that is made.
        carry: bytes a second that the way to the target takes: a patch pays where carrying what it
            saves takes longer than rebuilding the package, and of two the faster one is taken.
            None: what saves most for its time, as long as applying stays within the limit.
    """
    paying = {
        path: [patch for patch in patches if pays(patch, carry)]
        for path, patches in candidates.items()
    }
    if carry is not None:
        return {
            path: max(patches, key=lambda patch: patch.saved / carry - patch.seconds)
            for path, patches in paying.items()
            if patches
        }
    # Raw patches cost nothing: take the best of them first. What has to be compressed again then
    # competes for the time that is left, by the bytes it saves beyond that a second.
    chosen = {
        path: max(raw, key=lambda patch: patch.saved)
        for path, patches in paying.items()
        if (raw := [patch for patch in patches if not patch.compressing])
    }
    # A package is compressed by one core: alone it must fit the time that the whole may take.
    time_limit = max(_ALWAYS_ALLOWED, _EXTRA_TIME * channel / _COPY_SPEED)
    time_left = time_limit * _WORKERS
    rows = [(path, patch) for path, some in paying.items() for patch in some if patch.compressing]
    for path, patch in sorted(rows, key=lambda row: -_gain(row[1], chosen.get(row[0]))):
        fits = patch.compressing <= min(time_limit, time_left)
        if fits and _gain(patch, chosen.get(path)) > 0:
            chosen[path] = patch
            time_left -= patch.compressing
    return chosen


def _gain(patch: PatchCandidate, raw: PatchCandidate | None) -> float:
    """Bytes that it saves beyond a raw patch, for each second of compressing."""
    return (patch.saved - (raw.saved if raw else 0)) / patch.compressing
