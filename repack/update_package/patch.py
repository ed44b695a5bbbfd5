"""Patches of payloads: one zstd frame that has the old payload as its prefix.

It is what ``zstd --patch-from=OLD NEW`` writes, so ``zstd -d --patch-from=OLD`` applies it as well.
Source: RFC 8878 (zstd frames); zstd's manual, "--patch-from".
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from repack.codec import zstd
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from repack.channel.manifest import Artifact
    from repack.progress import Progress

MAGIC: Final = b"\x28\xb5\x2f\xfd"
# A frame copies from as far back as its window reaches; zstd's largest window has 2 GiB, on 64 bits.
_MAX_WINDOW_LOG: Final = 31
_MIN_WINDOW_LOG: Final = 10
_LEVEL: Final = 12  # beyond it zstd takes ten times as long for a few per cent
_MIN_PREFIX: Final = 8  # zstd takes a shorter dictionary for none


def make_patch(old: Path, new: Path, out: Path, progress: Progress) -> None:
    """Write the patch that makes ``new`` out of ``old``; the old payload is held in memory.

    Raises:
        UsageError: both together reach beyond zstd's largest window.
        PlaceError: a file cannot be read.
        SpaceError: the disk is full.
    """
    window = _window_log(old, new)
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _LEVEL,
        zstd.CompressionParameter.window_log: window,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    compressor = zstd.ZstdCompressor(options=options, zstd_dict=_prefix(old))
    size = new.stat().st_size
    with (
        atomic.os_errors_at(new),
        beneath.reading(new) as stream,
        atomic.writing(out) as target,
        progress.phase("making the patch", size, "bytes") as advance,
    ):
        # The size goes into the frame's header, so that reading is bounded from the first byte.
        compressor.set_pledged_input_size(size)
        while chunk := stream.read(atomic.CHUNK):
            target.write(compressor.compress(chunk))
            advance(len(chunk))
        target.write(compressor.flush(compressor.FLUSH_FRAME))


def apply_patch(
    base: Path, patch: Path, output: Path, expected: Artifact, progress: Progress
) -> dict[str, str]:
    """Write the payload that ``patch`` makes of ``base``; nothing is written if it is another one.

    Args:
        expected: the payload's row in the manifest: its size bounds what is unpacked, its hashes
            decide.

    Returns:
        The hashes that were compared, by algorithm.

    Raises:
        IntegrityError: the patch is damaged or of another kind, or the base is another one.
        SpaceError: the disk is full.
    """
    hashers = {
        name: hashlib.new(name)
        for name in ("sha384", "sha256")
        if getattr(expected, name) is not None
    }
    with atomic.writing(output) as target, progress.phase("applying", expected.size, "bytes") as on:

        def take(chunk: bytes) -> None:
            for hasher in hashers.values():
                hasher.update(chunk)
            target.write(chunk)
            on(len(chunk))

        _unpack(base, patch, expected.size, take)
        digests = {name: hasher.hexdigest() for name, hasher in hashers.items()}
        for name, got in digests.items():
            if got != getattr(expected, name):
                raise IntegrityError(
                    f"what the patch makes has the wrong {name}",
                    where=patch,
                    expected=getattr(expected, name),
                    got=got,
                    hint=f"the patch is damaged, or {base} is not the base that it was made for",
                )
    return digests


def _unpack(base: Path, patch: Path, size: int, take: Callable[[bytes], None]) -> None:
    """Decompress ``patch``, handing on pieces; never more than ``size`` bytes."""
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
    decompressor = zstd.ZstdDecompressor(zstd_dict=_prefix(base), options=options)
    done = 0
    with atomic.os_errors_at(patch), beneath.reading(patch) as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise IntegrityError(
                "the patch is of a kind that this program does not apply",
                where=patch,
                expected="a zstd frame, as --diff-from and zstd --patch-from make",
            )
        stream.seek(0)
        try:
            while not decompressor.eof:
                data = stream.read(atomic.CHUNK) if decompressor.needs_input else b""
                if decompressor.needs_input and not data:
                    raise IntegrityError("the patch is cut off", where=patch)
                chunk = decompressor.decompress(data, atomic.CHUNK)
                done += len(chunk)
                if done > size:
                    break
                take(chunk)
        except zstd.ZstdError as fault:
            raise IntegrityError(
                "the patch is damaged, or its base is another one", where=patch, got=fault
            ) from fault
        if done != size:
            got = f"{done} bytes" if done < size else f"more than {size} bytes"
            raise IntegrityError(
                "what the patch makes has the wrong size",
                where=patch,
                expected=f"{size} bytes",
                got=got,
            )
        if decompressor.unused_data or stream.read(1):
            raise IntegrityError("something follows the end of the patch", where=patch)


def _prefix(old: Path) -> tuple[zstd.ZstdDict, int] | None:
    with atomic.os_errors_at(old):
        content = atomic.read(old, old.stat().st_size)
    if len(content) < _MIN_PREFIX:
        return None
    return zstd.ZstdDict(content, is_raw=True).as_prefix


def _window_log(old: Path, new: Path) -> int:
    with atomic.os_errors_at(old):
        reach = old.stat().st_size + new.stat().st_size
    log = max(_MIN_WINDOW_LOG, (reach - 1).bit_length())
    if log > _MAX_WINDOW_LOG:
        raise UsageError(
            "the payloads are too large for a patch",
            where=new,
            expected=f"at most {1 << _MAX_WINDOW_LOG} bytes, old and new together",
            got=f"{reach} bytes",
            hint="leave --diff-from out; the payload itself is in the package in any case",
        )
    return log
