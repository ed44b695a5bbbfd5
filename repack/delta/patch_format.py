"""A patch: how one package is made again out of another one.

A package is cut into parts. What is no compressed stream (the zip around a ``.conda``'s two tars)
travels as it is. A stream travels as the difference of its *decompressed* bytes to those of the
base, in segments, and is compressed again by a recipe that was tried out when the patch was made.
A *raw* patch compresses nothing again: it is the difference of the package's own bytes to those of
the base package as it lies. Segments keep memory small: a segment and what it may copy from fit a
window of 64 MiB together.

On disk: the data of all parts in order, the index as canonical JSON, its length in 8 bytes, big
end first, and the magic.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from repack.codec.canonical import canonical, is_size, loads
from repack.codec.decode import encode
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

Span = tuple[int, int]


class Recipe(Struct, frozen=True):
    """How a stream was compressed.

    Attributes:
        kind: the format.
        level: how hard.
        job: bytes each of zstd's workers takes; 0 for zstd's own choice, -1 for no workers.
        checksum: whether the frame ends in one.
        sized: whether the frame says how long the content is.
        cuts: where in the decompressed stream a job ends before it is full, rising.
    """

    kind: Literal["zstd", "bz2"]
    level: int
    job: int = -1
    checksum: bool = False
    sized: bool = True
    cuts: tuple[int, ...] = ()


class Segment(Struct, frozen=True):
    """A piece of a decompressed stream.

    Attributes:
        size: bytes it has.
        start: where in the base's decompressed bytes its dictionary begins.
        reach: bytes of that dictionary.
        data: bytes of its difference; 0 in a raw patch: they stand in the base as they are.
    """

    size: int
    start: int
    reach: int
    data: int = 0


class Part(Struct, frozen=True):
    """A run of bytes of the package: ``size`` as they are, or from segments, by a recipe if any."""

    size: int
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


class Patch(Struct, frozen=True):
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
        index = canonical({"parts": [encode(part) for part in self.parts]})
        return index + len(index).to_bytes(8) + MAGIC


def parse(index: bytes, where: object) -> Patch:
    """Read an index.

    Raises:
        IntegrityError: malformed, or it wants more memory than a patch may.
    """
    document = loads(index, where, MAX_INDEX)
    rows: Any = document.get("parts") if isinstance(document, dict) else None
    try:
        found = Patch(tuple(_part(row) for row in rows))
    except (TypeError, KeyError, ValueError) as fault:
        raise IntegrityError("the index of the patch is malformed", where=where) from fault
    if found.raw and any(part.recipe for part in found.parts):
        raise IntegrityError("the patch is for two kinds of base at once", where=where)
    return found


def _part(row: Mapping[str, Any]) -> Part:
    raw, segments = row["recipe"], tuple(_segment(one) for one in row["segments"])
    recipe = None if raw is None else Recipe(**{**raw, "cuts": tuple(raw["cuts"])})
    found = Part(_size(row["size"]), recipe, segments)
    if recipe is not None:
        _check_recipe(recipe)
    elif segments and found.unpacked != found.size:
        raise ValueError
    return found


def _check_recipe(recipe: Recipe) -> None:
    flags = isinstance(recipe.checksum, bool) and isinstance(recipe.sized, bool)
    whole = type(recipe.level) is int and type(recipe.job) is int
    highest = 22 if recipe.kind == "zstd" else 9
    if not flags or not whole or recipe.kind not in {"zstd", "bz2"}:
        raise ValueError
    if not 1 <= recipe.level <= highest or not -1 <= recipe.job <= 1 << 30:
        raise ValueError
    if recipe.cuts and recipe.kind != "zstd":
        raise ValueError
    if len(recipe.cuts) > _MAX_CUTS or not all(map(is_size, recipe.cuts)):
        raise ValueError
    if any(one >= two for one, two in itertools.pairwise((0, *recipe.cuts))):
        raise ValueError


def _segment(row: Mapping[str, Any]) -> Segment:
    found = Segment(*(_size(row[name]) for name in ("size", "start", "reach", "data")))
    # zstd makes nothing much larger than it was
    if found.size > SEGMENT or found.reach > REACH or found.data > SEGMENT + (1 << 20):
        raise ValueError
    return found


def _size(value: object) -> int:
    if not is_size(value):
        raise ValueError
    return value


def plan(
    length: int, base_length: int, like: Callable[[Span], int | None], *, raw: bool
) -> tuple[Segment, ...]:
    """Cut a stream into segments, each with the stretch of the base that is most like it.

    Args:
        length: bytes of the stream.
        base_length: bytes of the base, all its streams together.
        like: where in the base a piece of the stream begins, if that is known.
        raw: whether it is for a raw patch.
    """
    cut, reach = (RAW_SEGMENT, RAW_REACH) if raw else (SEGMENT, REACH)
    if base_length <= reach and length <= cut:
        return (Segment(length, 0, base_length),) if length else ()
    found = []
    for start in range(0, length, cut):
        size = min(cut, length - start)
        at = like((start, size))
        if at is None:
            at = start * base_length // length
        first = max(0, min(at - (reach - size) // 2, base_length - reach))
        found.append(Segment(size, first, min(reach, base_length - first)))
    return tuple(found)


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
