"""Makes patches of packages, and packages out of patches.

Rules of this module:

- A patch is only made if the package was made again from it, byte for byte, on the spot.
- Memory does not grow with the package: payloads lie decompressed in a scratch file, and a segment
  with what it may copy from fits zstd's window.
- While a piece is written the next ones are made, in threads beside.
- Whoever makes a package from a patch gets its SHA-256, and believes nothing before it is right.
"""

from __future__ import annotations

import collections
import itertools
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.archive import reader
from repack.archive.package import begins_job
from repack.delta import common_bytes, recompress
from repack.delta import patch_format as model
from repack.delta.patch_format import FOOTER, MAGIC, WINDOW_LOG, Part, Patch, Recipe, Segment
from repack.delta.payload import Payload, chunks
from repack.errors import IntegrityError
from repack.fs import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path


if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


# Beyond this zstd presses ten times as long for a few percent.
_LEVEL: Final = 12
_LOCAL_HEADER: Final = 30
_LEAST_DICTIONARY: Final = 8  # zstd takes a shorter one for none
_HEAD: Final = 1 << 20
_BESIDE: Final = 2
_RUN: Final = 32 << 10
_AROUND: Final = 256 << 10
_BLOCK: Final = 512  # of tar


class _Region(Struct, frozen=True):
    """A compressed stream inside a package."""

    start: int
    size: int
    span: model.Span


def make_patch(package: Path, fn: str, base: Payload, own: Payload, out: IO[bytes]) -> Patch | None:
    """Write the patch that makes ``package`` out of ``base``; None where no recipe is found.

    Args:
        own: the package's own payload.

    Raises:
        SpaceError: the disk is full.
        PlaceError: a file cannot be read.
    """
    with atomic.os_errors_at(package), package.open("rb") as stream:
        regions = _regions(stream, fn, own)
        end = stream.seek(0, 2)
        if regions is None:
            return None
        known = {name: span for part in base.spans for name, span in base.members(part)}
        parts, at = [], 0
        for region in regions:
            parts.append(_as_it_is(stream, (at, region.start - at), out))
            part = _pressed(stream, region, own, (base, known), out)
            if part is None:
                return None
            parts.append(part)
            at = region.start + region.size
        parts.append(_as_it_is(stream, (at, end - at), out))
    found = Patch(tuple(part for part in parts if part.size))
    out.write(found.footer())
    return found


def make_raw_patch(
    package: Path, base: tuple[Path, Payload], own: Payload, out: IO[bytes]
) -> Patch:
    """Write the raw patch that makes ``package`` out of another one.

    Args:
        base: the other package and its payload, which tells what lies where in it.
        own: the package's own payload.

    Raises:
        SpaceError: the disk is full.
        PlaceError: a file cannot be read.
    """
    before, whole = Payload.raw(base[0]), Payload.raw(package)
    known = {name: span for part in base[1].spans for name, span in base[1].members(part)}
    members = [row for part in own.spans for row in own.members(part)]

    def like(piece: model.Span) -> int | None:
        start, end = own.unpacked(piece[0]), own.unpacked(sum(piece))
        found = model.counterpart((start, max(1, end - start)), members, known)
        return None if found is None else base[1].packed(found)

    segments: list[Segment] = []
    at = 0
    for segment in model.plan(whole.size, before.size, like, raw=True):
        for one in _apart(segment, at, whole, before):
            segments += _differences([one], whole, at, before, out) if one.reach else [one]
            at += one.size
    made = Patch((Part(whole.size, None, tuple(segments)),))
    out.write(made.footer())
    return made


def _apart(segment: Segment, at: int, own: Payload, base: Payload) -> list[Segment]:
    """A raw segment in pieces: what the base has as it is (of no reach), and what lies between."""
    piece, old = own.read((at, segment.size)), base.read((segment.start, segment.reach))
    # so long that the index cannot get too large
    least = max(_RUN, own.size >> 16)
    found, end, there = [], 0, 0
    shift = max(0, min(at - segment.start, segment.reach - segment.size))
    ends = common_bytes.Run(segment.size, segment.reach, 0)
    for run in (*common_bytes.runs(piece, old, shift, least), ends):
        if run.at > end:
            size = run.at - end
            first, reach = 0, segment.reach
            if size < _AROUND:
                near = there if end else run.there - size
                first = max(0, min(near - _AROUND, reach - size - 2 * _AROUND))
                reach = min(size + 2 * _AROUND, reach - first)
            found.append(Segment(size, segment.start + first, reach))
        if run.size:
            found.append(Segment(run.size, segment.start + run.there, 0))
        end, there = run.at + run.size, run.there + run.size
    return found


def _regions(stream: IO[bytes], fn: str, own: Payload) -> list[_Region] | None:
    if not fn.endswith(".conda"):
        return [_Region(0, stream.seek(0, 2), own.spans[0])]
    dist, found = fn.removesuffix(".conda"), []
    try:
        with zipfile.ZipFile(stream) as zipped:
            for part, span in zip(("info", "pkg"), own.spans, strict=True):
                info = zipped.getinfo(f"{part}-{dist}.tar.zst")
                if info.compress_type != zipfile.ZIP_STORED:
                    return None
                stream.seek(info.header_offset)
                head = stream.read(_LOCAL_HEADER)
                names = int.from_bytes(head[26:28], "little") + int.from_bytes(
                    head[28:30], "little"
                )
                start = info.header_offset + _LOCAL_HEADER + names
                found.append(_Region(start, info.file_size, span))
    except (*reader.DAMAGE, LookupError):
        return None
    return sorted(found, key=lambda region: region.start)


def _as_it_is(stream: IO[bytes], span: model.Span, out: IO[bytes]) -> Part:
    start, left = span
    stream.seek(start)
    while left and (piece := stream.read(min(atomic.CHUNK, left))):
        out.write(piece)
        left -= len(piece)
    return Part(span[1])


def _pressed(
    stream: IO[bytes],
    region: _Region,
    own: Payload,
    base: tuple[Payload, dict[str, model.Span]],
    out: IO[bytes],
) -> Part | None:
    """The stream's difference, when a recipe makes it again; a small one goes as it is if none."""

    def packed(count: int) -> bytes:
        if not count:
            stream.seek(region.start)
        return stream.read(min(count, region.start + region.size - stream.tell()))

    packed(0)
    old, known = base
    first, size = region.span
    members = [(name, (place - first, n)) for name, (place, n) in own.members(region.span)]
    recipe = recompress.find(
        packed(_HEAD), size, lambda: chunks(own.path, region.span), packed, _cuts(members)
    )
    if recipe is None:
        small = region.size * 8 < stream.seek(0, 2)
        return _as_it_is(stream, (region.start, region.size), out) if small else None
    segments = model.plan(
        size, old.size, lambda piece: model.counterpart(piece, members, known), raw=False
    )
    return Part(region.size, recipe, _differences(segments, own, first, old, out))


def _cuts(members: Sequence[tuple[str, model.Span]]) -> tuple[int, ...]:
    """Where repack itself ends jobs when it packs these files."""
    pairs = itertools.pairwise(span for _, span in members)
    return tuple(
        place + size + -size % _BLOCK for (place, size), (_, n) in pairs if begins_job(size, n)
    )


def _differences(
    segments: Sequence[Segment], own: Payload, at: int, base: Payload, out: IO[bytes]
) -> tuple[Segment, ...]:
    """Write the data of the segments of ``own`` from ``at`` on."""
    found = []
    for segment in segments:
        data = _compress(own.read((at, segment.size)), base.read((segment.start, segment.reach)))
        out.write(data)
        found.append(replace(segment, data=len(data)))
        at += segment.size
    return tuple(found)


def _dictionary(content: bytes) -> zstd.ZstdDict | None:
    return zstd.ZstdDict(content, is_raw=True) if len(content) >= _LEAST_DICTIONARY else None


def _compress(piece: bytes, old: bytes) -> bytes:
    """What ``zstd --patch-from`` makes."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _LEVEL,
        zstd.CompressionParameter.window_log: WINDOW_LOG,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    known = _dictionary(old)
    machine = zstd.ZstdCompressor(options=options, zstd_dict=known.as_prefix if known else None)
    return machine.compress(piece, machine.FLUSH_FRAME)


def _decompress(data: bytes, old: bytes, size: int) -> bytes:
    known = _dictionary(old)
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
    machine = zstd.ZstdDecompressor(zstd_dict=known.as_prefix if known else None, options=options)
    try:
        piece = machine.decompress(data, size + 1)
    except (zstd.ZstdError, EOFError) as fault:
        raise IntegrityError("the patch is damaged, or its base is", got=fault) from fault
    if len(piece) != size or not machine.eof or machine.unused_data:
        raise IntegrityError("the patch is damaged", expected=f"{size} bytes", got=len(piece))
    return piece


def read_index(stream: IO[bytes], where: object) -> Patch:
    """Read a patch's index and leave ``stream`` at the beginning of its data.

    Raises:
        IntegrityError: there is none, or it does not fit the file.
    """
    end = stream.seek(0, 2)
    stream.seek(max(0, end - FOOTER))
    footer = stream.read(FOOTER)
    length = int.from_bytes(footer[:8])
    if footer[8:] != MAGIC or not 0 <= length <= min(model.MAX_INDEX, end - FOOTER):
        raise IntegrityError("no patch, or one that was cut off", where=where)
    stream.seek(end - FOOTER - length)
    found = model.parse(stream.read(length), where)
    if sum(part.held for part in found.parts) != end - FOOTER - length:
        raise IntegrityError("the patch does not fit its index", where=where)
    stream.seek(0)
    return found


def is_raw(patch: Path) -> bool:
    """Whether a patch is applied to the base package as it lies.

    Raises:
        IntegrityError: it is none.
    """
    with atomic.os_errors_at(patch), patch.open("rb") as stream:
        return read_index(stream, patch).raw


def apply_patch(patch: Path, base: Payload, out: IO[bytes]) -> None:
    """Write the package that ``patch`` makes out of ``base``; the caller checks its SHA-256.

    Raises:
        IntegrityError: the patch is damaged, or zstd here makes other bytes.
        SpaceError: the disk is full.
    """
    with atomic.os_errors_at(patch), patch.open("rb") as stream:
        for part in read_index(stream, patch).parts:
            if part.recipe is not None:
                _press(part, part.recipe, _pieces(stream, part.segments, base), out)
            elif part.segments:
                _copy(stream, part.segments, base, out)
            else:
                _as_it_is(stream, (stream.tell(), part.size), out)


def _copy(stream: IO[bytes], segments: Sequence[Segment], base: Payload, out: IO[bytes]) -> None:
    """Write the segments of a raw patch."""
    with atomic.os_errors_at(base.path), base.path.open("rb") as old:
        for own, group in itertools.groupby(segments, lambda segment: segment.data > 0):
            if own:
                for piece in _pieces(stream, list(group), base):
                    out.write(piece)
                continue
            for segment in group:
                common_bytes.copy(old, segment.start, segment.size, out)


def _press(part: Part, recipe: Recipe, pieces: Iterator[bytes], out: IO[bytes]) -> None:
    made = 0
    for data in recompress.outputs(recipe, part.unpacked, pieces):
        out.write(data)
        made += len(data)
        if made > part.size:
            break
    if made != part.size:
        raise IntegrityError("compressed again, the bytes are others", expected=part.size, got=made)


def _pieces(stream: IO[bytes], segments: Sequence[Segment], base: Payload) -> Iterator[bytes]:
    """The segments' bytes; the next ones are made while one is used."""
    if len(segments) == 1:
        yield _piece(stream.read(segments[0].data), segments[0], base)
        return
    with ThreadPoolExecutor(_BESIDE) as beside:
        coming: collections.deque[Future[bytes]] = collections.deque()
        for segment in segments:
            coming.append(beside.submit(_piece, stream.read(segment.data), segment, base))
            if len(coming) > _BESIDE:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _piece(data: bytes, segment: Segment, base: Payload) -> bytes:
    if segment.start + segment.reach > base.size:
        raise IntegrityError("the patch wants more of its base than there is")
    old = base.read((segment.start, segment.reach))
    return _decompress(data, old, segment.size)
