"""Compresses a stream again to the bytes it had.

A zstd frame (RFC 8878) does not say how it was made, so the recipe is found by trying all levels: a
first stretch rules out all but one or two, and the whole stream proves the recipe. For what other
versions of zstd or other programs made there is often none. bzip2 has been the same for decades and
says its level in the first four bytes.
"""

from __future__ import annotations

import bz2
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from repack.archive.package import JOB
from repack.delta.patch_format import Recipe
from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import zstandard

# zstd's default size of a job, no jobs, and those of repack's own packages, which don't overlap.
_JOBS: Final = (0, -1, JOB)
_SAMPLE: Final = 256 << 10
_HEADER: Final = 18  # bytes a zstd frame's header may have
_UNKNOWN: Final = (1 << 64) - 1
# What zstd may take on the target: enough for level 19, and for any level on what is small.
_MEMORY: Final = 128 << 20


class _Compressor(Protocol):
    """What ``bz2`` and ``zstandard`` have in common; ``bz2`` cannot flush but at the end."""

    def compress(self, data: bytes, /) -> bytes:
        """Take ``data`` and give what is ready."""

    def flush(self, flush_mode: int = ..., /) -> bytes:
        """Give the rest."""


def tools() -> dict[str, str]:
    """Versions of what the bytes of a compressed stream depend on."""
    import zstandard

    zstd = ".".join(map(str, zstandard.ZSTD_VERSION))
    return {"zstandard": version("zstandard"), "zstd": zstd}


def outputs(recipe: Recipe, size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Compress a stream of ``size`` bytes by a recipe; no piece that comes is empty but the last.

    Raises:
        IntegrityError: it would take more memory than it may, or is not as long as it should be.
    """
    import zstandard

    compressor, at, cuts = _compressor(recipe, size), 0, list(reversed(recipe.cuts))
    for piece in pieces:
        start = 0
        while cuts and cuts[-1] <= at + len(piece):
            end = cuts.pop() - at
            # As repack's own packer does: flushing a block ends the job where it stands.
            out = compressor.compress(piece[start:end])
            if out := out + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK):
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
    import zstandard

    parameters = _parameters(recipe, size)
    if not _fits(recipe, size):
        raise IntegrityError("compressing again would take too much memory", got=recipe)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return compressor.compressobj(size=size if recipe.sized else -1)


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
    import zstandard

    try:
        frame = zstandard.get_frame_parameters(head[:_HEADER])
    except zstandard.ZstdError:
        return
    sized = frame.content_size != _UNKNOWN
    sample = next(chunks(), b"")[:_SAMPLE]
    for level in range(1, zstandard.MAX_COMPRESSION_LEVEL + 1):
        recipe = Recipe("zstd", level, -1, frame.has_checksum, sized)
        if _begins(recipe, size, sample, head):
            # Streams of one job are the same with and without workers: no second try.
            for job in _JOBS if size > _SAMPLE else (-1,):
                yield Recipe("zstd", level, job, frame.has_checksum, sized)


def _begins(recipe: Recipe, size: int, sample: bytes, head: bytes) -> bool:
    """Whether the first block by this recipe is that of the stream."""
    import zstandard

    if not _fits(recipe, size):
        return False
    parameters = _parameters(recipe, size)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj(
        size=size if recipe.sized else -1
    )
    try:
        if len(sample) == size:
            return compressor.compress(sample) + compressor.flush() == head[: 1 << 20]
        out = compressor.compress(sample) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    except zstandard.ZstdError:
        return False
    # The last block of the sample may be shorter than the stream's.
    return out[: len(out) // 4] == head[: len(out) // 4]


def _fits(recipe: Recipe, size: int) -> bool:
    # zstd cannot say it of workers; one of them takes about as much as none.
    alone = _parameters(replace(recipe, job=-1), size)
    return alone.estimated_compression_context_size() <= _MEMORY


def _parameters(recipe: Recipe, size: int) -> zstandard.ZstdCompressionParameters:
    import zstandard

    options: dict[str, int] = {}
    if recipe.job >= 0:
        # One worker does what many do: the bytes depend on there being any.
        overlap = 1 if recipe.job == JOB else 0
        options = {"threads": 1, "job_size": recipe.job, "overlap_log": overlap}
    return zstandard.ZstdCompressionParameters.from_level(
        recipe.level,
        source_size=size if recipe.sized else 0,
        write_checksum=recipe.checksum,
        write_content_size=recipe.sized,
        **options,
    )
