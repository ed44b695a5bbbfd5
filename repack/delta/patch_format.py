"""A patch: how one package is rebuilt from another one.

A package is cut into parts. What is no compressed stream (the zip around a ``.conda``'s two tars)
travels as it is. A stream travels as the difference of its *decompressed* bytes to those of the
base, in segments, and is compressed again by a recipe that was tried out when the patch was made.
A *raw* patch compresses nothing again: it is the difference of the package's own bytes to those of
the base package as it lies. Segments bound the memory: a segment and what it may copy from fit a
window of 64 MiB together.

On disk: the data of all parts in order, the index as canonical JSON, its length in 8 bytes (big
endian), and the magic.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from repack.codec.canonical import MAX_SIZE, canonical, loads
from repack.codec.decode import Document, decode, encode
from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAGIC: Final = b"repack-patch-1\n"
FOOTER: Final = 8 + len(MAGIC)
MAX_INDEX: Final = 16 << 20
WINDOW_LOG: Final = 26
SEGMENT: Final = 16 << 20
# How much of the base a segment may copy from; with the segment it fits the window.
REACH: Final = 48 << 20
# Of a raw patch, which is for what hardly moves.
RAW_SEGMENT: Final = 8 << 20
RAW_REACH: Final = 10 << 20
_MAX_CUTS: Final = 1 << 20
# A file smaller than this says too little of where its neighbours are.
_ANCHOR: Final = 4096

Span = tuple[int, int]  # start and size
Size = Annotated[int, Meta(ge=0, le=MAX_SIZE)]


class Recipe(Document, frozen=True):
    """How a stream was compressed.

    Attributes:
        kind: the format.
        level: the compression level.
        job: bytes that each of zstd's workers takes; 0 for zstd's own choice, -1 for no workers.
        checksum: whether the frame ends in one.
        sized: whether the frame says how long the content is.
        cuts: where in the decompressed stream a job ends before it is full, rising.
    """

    kind: Literal["zstd", "bz2"]
    level: Annotated[int, Meta(ge=1, le=22)]
    job: Annotated[int, Meta(ge=-1, le=1 << 30)] = -1
    checksum: bool = False
    sized: bool = True
    cuts: Annotated[tuple[Size, ...], Meta(max_length=_MAX_CUTS)] = ()


class Segment(Document, frozen=True):
    """A piece of a decompressed stream. The bounds are those of the memory that it may take.

    Attributes:
        size: bytes it has.
        start: where in the base's decompressed bytes its dictionary begins.
        reach: bytes of that dictionary.
        data: bytes of its difference; 0 in a raw patch: they stand in the base as they are.
    """

    size: Annotated[int, Meta(ge=0, le=SEGMENT)]
    start: Size
    reach: Annotated[int, Meta(ge=0, le=REACH)]
    # zstd makes nothing much larger than it was.
    data: Annotated[int, Meta(ge=0, le=SEGMENT + (1 << 20))] = 0


class Part(Document, frozen=True):
    """``size`` bytes of the package: as they are, or from segments, by a recipe if there is one."""

    size: Size
    recipe: Recipe | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def unpacked(self) -> int:
        """Bytes of the stream, decompressed."""
        return sum(segment.size for segment in self.segments)

    @property
    def held(self) -> int:
        """Bytes of the patch's data that it takes."""
        if self.recipe is None and not self.segments:
            return self.size
        return sum(segment.data for segment in self.segments)


class Patch(Document, frozen=True):
    """The index of a patch."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of the package it makes."""
        return sum(part.size for part in self.parts)

    @property
    def raw(self) -> bool:
        """Whether the base is the package as it lies, and not its decompressed payload."""
        return any(part.segments and part.recipe is None for part in self.parts)

    def footer(self) -> bytes:
        """What follows the data."""
        index = canonical(encode(self))
        return index + len(index).to_bytes(8) + MAGIC


def parse_index(index: bytes, where: object) -> Patch:
    """Read an index.

    Raises:
        IntegrityError: malformed, or it wants more memory than a patch may.
    """
    patch = decode(Patch, loads(index, where, MAX_INDEX), where, "index of the patch")
    if patch.raw and any(part.recipe for part in patch.parts):
        raise IntegrityError("the patch is for two kinds of base at once", where=where)
    if not all(map(_is_consistent, patch.parts)):
        raise IntegrityError("the index of the patch is malformed", where=where)
    return patch


def _is_consistent(part: Part) -> bool:
    """Whether sizes add up, cuts rise, and bzip2 has neither cuts nor a level above 9."""
    recipe = part.recipe
    if recipe is None:
        return not part.segments or part.unpacked == part.size
    if recipe.kind == "bz2":
        return recipe.level <= 9 and not recipe.cuts
    return all(start < end for start, end in itertools.pairwise((0, *recipe.cuts)))


def plan(
    length: int, base_length: int, find_start: Callable[[Span], int | None], *, raw: bool
) -> tuple[Segment, ...]:
    """Cut a stream into segments, each with the stretch of the base that is most like it.

    Args:
        length: bytes of the stream.
        base_length: bytes of the base, all its streams together.
        find_start: where in the base a piece of the stream begins, if that is known.
        raw: whether it is for a raw patch.
    """
    cut, reach = (RAW_SEGMENT, RAW_REACH) if raw else (SEGMENT, REACH)
    if base_length <= reach and length <= cut:
        return (Segment(length, 0, base_length),) if length else ()
    segments = []
    for start in range(0, length, cut):
        size = min(cut, length - start)
        base_start = find_start((start, size))
        if base_start is None:
            base_start = start * base_length // length
        first = max(0, min(base_start - (reach - size) // 2, base_length - reach))
        segments.append(Segment(size, first, min(reach, base_length - first)))
    return tuple(segments)


def counterpart(
    piece: Span, members: Sequence[tuple[str, Span]], base: Mapping[str, Span]
) -> int | None:
    """Where in the base a piece of a stream begins, by the first file in it that the base has too.

    Args:
        members: files of the stream, in order, with the place and size of their data.
        base: the same of the base, by name.
    """
    start, size = piece
    for name, (place, count) in members:
        if place >= start + size:
            break
        if place + count > start and count >= _ANCHOR and name in base:
            return max(0, base[name][0] + start - place)
    return None
