"""Compresses a stream again to the bytes it had.

A zstd frame (RFC 8878) does not say how it was made, so the recipe is found by trying all levels: a
first stretch rules out all but one or two, and the whole stream proves the recipe. For what other
versions of zstd or other programs made there is often none. bzip2 has been the same for decades and
says its level in the first four bytes.
"""

from __future__ import annotations

import bz2
from typing import TYPE_CHECKING, Final, Literal, Protocol

from msgspec.structs import replace

from repack.archive.package import JOB
from repack.codec import zstd
from repack.delta.patch_format import Recipe
from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# zstd's default size of a job, no jobs, and those of repack's own packages, which don't overlap.
_JOBS: Final = (0, -1, JOB)
_SAMPLE: Final = 256 << 10
_HEADER: Final = 18  # bytes a zstd frame's header may have
# The target gives zstd 128 MiB, by ZSTD_estimateCCtxSize: enough for level 19, and for the levels
# above it on streams of at most so many bytes.
_MAX_SIZE: Final = {20: 8 << 20, 21: 4 << 20, 22: 4 << 20}
_HIGHEST: Final = max(_MAX_SIZE)


class _Compressor(Protocol):
    """What ``bz2`` and ``zstd`` have in common; ``bz2`` cannot flush but at the end."""

    def compress(self, data: bytes, /) -> bytes:
        """Take ``data`` and give what is ready."""

    def flush(self, mode: Literal[1, 2] = ..., /) -> bytes:
        """Give the rest."""


def tools() -> dict[str, str]:
    """Versions of what the bytes of a compressed stream depend on."""
    return {"zstd": zstd.zstd_version}


def outputs(recipe: Recipe, size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Compress a stream of ``size`` bytes by a recipe; no piece that comes is empty but the last.

    Raises:
        IntegrityError: it would take more memory than it may, or is not as long as it should be.
    """
    compressor, at, cuts = _compressor(recipe, size), 0, list(reversed(recipe.cuts))
    for piece in pieces:
        start = 0
        while cuts and cuts[-1] <= at + len(piece):
            end = cuts.pop() - at
            # As repack's own packer does: flushing a block ends the job where it stands.
            out = compressor.compress(piece[start:end])
            if out := out + compressor.flush(zstd.ZstdCompressor.FLUSH_BLOCK):
                yield out
            start = end
        at += len(piece)
        if at > size:
            break
        if out := compressor.compress(piece[start:] if start else piece):
            yield out
    if at != size:
        raise IntegrityError("the stream is not as long as it was", expected=size, got=at)
    yield compressor.flush()


def _compressor(recipe: Recipe, size: int) -> _Compressor:
    if recipe.kind == "bz2":
        return bz2.BZ2Compressor(recipe.level)  # type: ignore[return-value]
    if not _fits(recipe, size):
        raise IntegrityError("compressing again would take too much memory", got=recipe)
    return _zstd_compressor(recipe, size)


def find_recipe(
    head: bytes,
    size: int,
    chunks: Callable[[], Iterator[bytes]],
    read_packed: Callable[[int], bytes],
    cuts: tuple[int, ...] = (),
) -> Recipe | None:
    """The recipe that made a stream, or None.

    Args:
        head: the beginning of the compressed stream, up to a megabyte.
        size: bytes of the stream, decompressed.
        chunks: yields the decompressed stream from its beginning; called once for each try.
        read_packed: reads so many bytes of the compressed stream; 0 rewinds it.
        cuts: where repack itself ends jobs.
    """
    for candidate in _candidates(head, size, chunks):
        recipe = replace(candidate, cuts=cuts) if candidate.job == JOB else candidate
        read_packed(0)
        compressed = outputs(recipe, size, chunks())
        if all(read_packed(len(out)) == out for out in compressed) and not read_packed(1):
            return recipe
    return None


def _candidates(head: bytes, size: int, chunks: Callable[[], Iterator[bytes]]) -> Iterator[Recipe]:
    if head[:3] == b"BZh" and head[3:4].isdigit():
        yield Recipe("bz2", max(1, int(head[3:4])))
        return
    try:
        sized = zstd.get_frame_info(head[:_HEADER]).decompressed_size is not None
    except zstd.ZstdError:
        return
    checksum = bool(head[4] & 4)  # RFC 8878, section 3.1.1.1.1: Content_Checksum_flag
    sample = next(chunks(), b"")[:_SAMPLE]
    for level in range(1, _HIGHEST + 1):
        recipe = Recipe("zstd", level, -1, checksum, sized)
        if _begins(recipe, size, sample, head):
            # Streams of one job are the same with and without workers: no second try.
            for job in _JOBS if size > _SAMPLE else (-1,):
                yield Recipe("zstd", level, job, checksum, sized)


def _begins(recipe: Recipe, size: int, sample: bytes, head: bytes) -> bool:
    """Whether the first block by this recipe is that of the stream."""
    if not _fits(recipe, size):
        return False
    compressor = _zstd_compressor(recipe, size)
    try:
        if len(sample) == size:
            return compressor.compress(sample) + compressor.flush() == head[: 1 << 20]
        out = compressor.compress(sample) + compressor.flush(zstd.ZstdCompressor.FLUSH_BLOCK)
    except zstd.ZstdError:
        return False
    # The last block of the sample may be shorter than the stream's.
    return out[: len(out) // 4] == head[: len(out) // 4]


def _fits(recipe: Recipe, size: int) -> bool:
    """Whether compressing by the recipe stays in the memory that it may take."""
    # zstd cannot say it of workers; one of them takes about as much as none.
    if recipe.level not in _MAX_SIZE:
        return recipe.level < _HIGHEST
    return recipe.sized and size <= _MAX_SIZE[recipe.level]


def _zstd_compressor(recipe: Recipe, size: int) -> zstd.ZstdCompressor:
    option = zstd.CompressionParameter
    options: dict[int, int] = {
        option.compression_level: recipe.level,
        option.checksum_flag: int(recipe.checksum),
        option.content_size_flag: int(recipe.sized),
    }
    if recipe.job >= 0:
        # One worker does what many do: the bytes depend on there being any.
        options[option.nb_workers] = 1
        options[option.job_size] = recipe.job
        options[option.overlap_log] = 1 if recipe.job == JOB else 0
    compressor = zstd.ZstdCompressor(options=options)
    if recipe.sized:
        compressor.set_pledged_input_size(size)
    return compressor
