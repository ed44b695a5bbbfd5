"""Makes patches of packages, and packages out of patches.

Rules of this module:

- Memory does not grow with the package: payloads lie decompressed in a scratch file, and a segment
  with what it may copy from fits zstd's window.
- While a piece is written the next ones are made in other threads.
- Nothing is checked here but sizes: whoever applies a patch compares the SHA-256 of what comes out.
"""

from __future__ import annotations

import collections
import itertools
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.archive import reader
from repack.archive.package import begins_job
from repack.codec import zstd
from repack.delta import common_bytes, patch_format, recompress
from repack.delta.patch_format import (
    FOOTER,
    MAGIC,
    MAX_INDEX,
    WINDOW_LOG,
    Part,
    Patch,
    Recipe,
    Segment,
    Span,
    counterpart,
)
from repack.delta.payload import Payload, chunks
from repack.errors import IntegrityError
from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path


# Beyond this level zstd takes ten times as long for a few percent.
_LEVEL: Final = 12
_LOCAL_HEADER: Final = 30
_MIN_DICTIONARY: Final = 8  # zstd ignores a shorter one
_HEAD: Final = 1 << 20
_WORKERS: Final = 2
# Of raw patches: the shortest run that is copied from the base, and how much of the base on both
# sides is a dictionary for what lies between two runs.
_MIN_RUN: Final = 32 << 10
_MARGIN: Final = 256 << 10
_BLOCK: Final = 512  # of tar


class _Region(Struct, frozen=True):
    """A compressed stream inside a package."""

    start: int
    size: int
    span: Span


def make_patch(package: Path, fn: str, base: Payload, own: Payload, out: IO[bytes]) -> Patch | None:
    """Write the patch that makes ``package`` out of ``base``; None where no recipe is found.

    Args:
        own: the package's own payload.

    Raises:
        SpaceError: the disk is full.
        PlaceError: a file cannot be read.
    """
    with atomic.os_errors_at(package), beneath.reading(package) as stream:
        regions = _regions(stream, fn, own)
        end = stream.seek(0, 2)
        if regions is None:
            return None
        base_files = base.spans_by_name()
        parts, at = [], 0
        for region in regions:
            parts.append(_copy_literally(stream, (at, region.start - at), out))
            part = _stream_part(stream, region, own, (base, base_files), out)
            if part is None:
                return None
            parts.append(part)
            at = region.start + region.size
        parts.append(_copy_literally(stream, (at, end - at), out))
    patch = Patch(tuple(part for part in parts if part.size))
    out.write(patch.footer())
    return patch


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
    base_payload = base[1]
    raw_base, raw_own = Payload.raw(base[0]), Payload.raw(package)
    base_files = base_payload.spans_by_name()
    members = [member for span in own.spans for member in own.members(span)]

    def find_start(piece: Span) -> int | None:
        """From the place in the package to the file there, the same file in the base, its place."""
        start, end = own.unpacked(piece[0]), own.unpacked(sum(piece))
        place = counterpart((start, max(1, end - start)), members, base_files)
        return None if place is None else base_payload.packed(place)

    segments: list[Segment] = []
    at = 0
    for planned in patch_format.plan(raw_own.size, raw_base.size, find_start, raw=True):
        for segment in _split(planned, at, raw_own, raw_base):
            if segment.reach:
                segments += _write_differences([segment], raw_own, at, raw_base, out)
            else:
                segments.append(segment)
            at += segment.size
    patch = Patch((Part(raw_own.size, None, tuple(segments)),))
    out.write(patch.footer())
    return patch


def _split(segment: Segment, at: int, own: Payload, base: Payload) -> list[Segment]:
    """A raw segment in pieces: what the base has as it is (of no reach), and what lies between."""
    piece, old = own.read((at, segment.size)), base.read((segment.start, segment.reach))
    # Longer in large packages, so that the index stays within its limit.
    min_size = max(_MIN_RUN, own.size >> 16)
    shift = max(0, min(at - segment.start, segment.reach - segment.size))
    segments, end, base_end = [], 0, 0
    last = common_bytes.Run(segment.size, segment.reach, 0)
    for run in (*common_bytes.runs(piece, old, shift, min_size), last):
        if run.start > end:
            size, first, reach = run.start - end, 0, segment.reach
            # A short gap needs what lies near it in the base, not all of the segment's reach.
            if size < _MARGIN:
                near = base_end if end else run.base_start - size
                first = max(0, min(near - _MARGIN, reach - size - 2 * _MARGIN))
                reach = min(size + 2 * _MARGIN, reach - first)
            segments.append(Segment(size, segment.start + first, reach))
        if run.size:
            segments.append(Segment(run.size, segment.start + run.base_start, 0))
        end, base_end = run.start + run.size, run.base_start + run.size
    return segments


def _regions(stream: IO[bytes], fn: str, own: Payload) -> list[_Region] | None:
    """The compressed streams of a package, in order; None if a ``.conda`` is not as CEP 35 says."""
    if not fn.endswith(".conda"):
        return [_Region(0, stream.seek(0, 2), own.spans[0])]
    dist, regions = fn.removesuffix(".conda"), []
    try:
        with zipfile.ZipFile(stream) as zipped:
            for part, span in zip(("info", "pkg"), own.spans, strict=True):
                info = zipped.getinfo(f"{part}-{dist}.tar.zst")
                if info.compress_type != zipfile.ZIP_STORED:
                    return None
                stream.seek(info.header_offset)
                # The data begins behind the local header's name and extra field, whose lengths
                # may differ from those of the central directory (APPNOTE.TXT 4.3.7).
                name_size, extra_size = struct.unpack("<HH", stream.read(_LOCAL_HEADER)[26:30])
                start = info.header_offset + _LOCAL_HEADER + name_size + extra_size
                regions.append(_Region(start, info.file_size, span))
    except (*reader.DAMAGE, LookupError, struct.error):
        return None
    return sorted(regions, key=lambda region: region.start)


def _copy_literally(stream: IO[bytes], span: Span, out: IO[bytes]) -> Part:
    start, left = span
    stream.seek(start)
    while left and (piece := stream.read(min(atomic.CHUNK, left))):
        out.write(piece)
        left -= len(piece)
    return Part(span[1])


def _stream_part(
    stream: IO[bytes],
    region: _Region,
    own: Payload,
    base: tuple[Payload, dict[str, Span]],
    out: IO[bytes],
) -> Part | None:
    """The stream's difference, when a recipe makes it again; a small one goes as it is if none."""

    def read_packed(count: int) -> bytes:
        if not count:
            stream.seek(region.start)
        return stream.read(min(count, region.start + region.size - stream.tell()))

    read_packed(0)
    old, base_files = base
    first, size = region.span
    members = [(name, (place - first, n)) for name, (place, n) in own.members(region.span)]
    recipe = recompress.find_recipe(
        read_packed(_HEAD), size, lambda: chunks(own.path, region.span), read_packed, _cuts(members)
    )
    if recipe is None:
        is_small = region.size * 8 < stream.seek(0, 2)
        return _copy_literally(stream, (region.start, region.size), out) if is_small else None
    segments = patch_format.plan(
        size, old.size, lambda piece: counterpart(piece, members, base_files), raw=False
    )
    return Part(region.size, recipe, _write_differences(segments, own, first, old, out))


def _cuts(members: Sequence[tuple[str, Span]]) -> tuple[int, ...]:
    """Where repack itself ends jobs when it packs these files."""
    pairs = itertools.pairwise(span for _, span in members)
    return tuple(
        place + size + -size % _BLOCK for (place, size), (_, n) in pairs if begins_job(size, n)
    )


def _write_differences(
    segments: Sequence[Segment], own: Payload, at: int, base: Payload, out: IO[bytes]
) -> tuple[Segment, ...]:
    """Write the data of the segments of ``own`` from ``at`` on."""
    written = []
    for segment in segments:
        data = _compress(own.read((at, segment.size)), base.read((segment.start, segment.reach)))
        out.write(data)
        written.append(replace(segment, data=len(data)))
        at += segment.size
    return tuple(written)


def _dictionary(content: bytes) -> zstd.ZstdDict | None:
    return zstd.ZstdDict(content, is_raw=True) if len(content) >= _MIN_DICTIONARY else None


def _compress(piece: bytes, old: bytes) -> bytes:
    """The difference that ``zstd --patch-from`` makes: ``piece`` compressed with ``old`` as prefix."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _LEVEL,
        zstd.CompressionParameter.window_log: WINDOW_LOG,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    dictionary = _dictionary(old)
    compressor = zstd.ZstdCompressor(
        options=options, zstd_dict=dictionary.as_prefix if dictionary else None
    )
    return compressor.compress(piece, compressor.FLUSH_FRAME)


def _decompress(data: bytes, old: bytes, size: int) -> bytes:
    dictionary = _dictionary(old)
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
    decompressor = zstd.ZstdDecompressor(
        zstd_dict=dictionary.as_prefix if dictionary else None, options=options
    )
    try:
        # One byte more than there should be, so that a longer stream is seen without being made.
        piece = decompressor.decompress(data, size + 1)
    except (zstd.ZstdError, EOFError) as fault:
        raise IntegrityError("the patch is damaged, or its base is", got=fault) from fault
    if len(piece) != size or not decompressor.eof or decompressor.unused_data:
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
    if footer[8:] != MAGIC or not 0 <= length <= min(MAX_INDEX, end - FOOTER):
        raise IntegrityError("no patch, or one that was cut off", where=where)
    stream.seek(end - FOOTER - length)
    patch = patch_format.parse_index(stream.read(length), where)
    if sum(part.held for part in patch.parts) != end - FOOTER - length:
        raise IntegrityError("the patch does not fit its index", where=where)
    stream.seek(0)
    return patch


def is_raw(patch: Path) -> bool:
    """Whether a patch is applied to the base package as it lies.

    Raises:
        IntegrityError: it is none.
    """
    with atomic.os_errors_at(patch), beneath.reading(patch) as stream:
        return read_index(stream, patch).raw


def apply_patch(patch: Path, base: Payload, out: IO[bytes]) -> None:
    """Write the package that ``patch`` makes out of ``base``; the caller checks its SHA-256.

    Raises:
        IntegrityError: the patch is damaged, or zstd here makes other bytes.
        SpaceError: the disk is full.
    """
    with atomic.os_errors_at(patch), beneath.reading(patch) as stream:
        for part in read_index(stream, patch).parts:
            if part.recipe is not None:
                _compress_again(part, part.recipe, _pieces(stream, part.segments, base), out)
            elif part.segments:
                _write_raw(stream, part.segments, base, out)
            else:
                _copy_literally(stream, (stream.tell(), part.size), out)


def _write_raw(
    stream: IO[bytes], segments: Sequence[Segment], base: Payload, out: IO[bytes]
) -> None:
    """Write the segments of a raw patch: differences, and copies of what the base has as it is."""
    with atomic.os_errors_at(base.path), beneath.reading(base.path) as base_stream:
        for has_data, group in itertools.groupby(segments, lambda segment: segment.data > 0):
            if has_data:
                for piece in _pieces(stream, list(group), base):
                    out.write(piece)
                continue
            for segment in group:
                common_bytes.copy_range(base_stream, segment.start, segment.size, out)


def _compress_again(part: Part, recipe: Recipe, pieces: Iterator[bytes], out: IO[bytes]) -> None:
    size = 0
    for data in recompress.outputs(recipe, part.unpacked, pieces):
        out.write(data)
        size += len(data)
        if size > part.size:
            break
    if size != part.size:
        raise IntegrityError("compressed again, the bytes are others", expected=part.size, got=size)


def _pieces(stream: IO[bytes], segments: Sequence[Segment], base: Payload) -> Iterator[bytes]:
    """The segments' bytes; the next ones are decompressed while one is used."""
    if len(segments) == 1:
        yield _piece(stream.read(segments[0].data), segments[0], base)
        return
    # At most one segment more than there are workers, so that memory stays bounded.
    with ThreadPoolExecutor(_WORKERS) as pool:
        pending: collections.deque[Future[bytes]] = collections.deque()
        for segment in segments:
            pending.append(pool.submit(_piece, stream.read(segment.data), segment, base))
            if len(pending) > _WORKERS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _piece(data: bytes, segment: Segment, base: Payload) -> bytes:
    if segment.start + segment.reach > base.size:
        raise IntegrityError("the patch wants more of its base than there is")
    old = base.read((segment.start, segment.reach))
    return _decompress(data, old, segment.size)
