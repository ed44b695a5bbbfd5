"""Packs a conda package from files: reproducible, streamed, in both formats.

conda-package-streaming writes packages too, but it spools the payload to a temporary file first,
writes the time of day into the zip, and its bytes depend on the number of threads.
``rattler_build.assemble_package`` needs all files copied into one folder. So the three containers
(tar, zstd, zip) are combined here, each by the library for it.
"""

from __future__ import annotations

import bz2
import json
import os
import zipfile
from typing import IO, TYPE_CHECKING, Final, Literal

from msgspec import Struct

from repack.archive.package import JOB, begins_job
from repack.archive.tar_writer import TarWriter, tar_size
from repack.codec import zstd
from repack.conda.record import Record
from repack.fs import atomic
from repack.fs.digests import hash_archive
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from repack.archive.package import Format, PackageSpec

# Job boundaries follow from the content alone, so that the bytes do not depend on the number of
# threads. 1 is zstd's word for: no job refers to the data of the one before.
_OVERLAP: Final = 1
_MEMORY: Final = 112 << 20
# MiB that one thread's context takes at levels 1 to 19: ZSTD_estimateCCtxSize, rounded up.
_CONTEXT: Final = (1, 1, 2, 3, 3, 3, 6, 6, 11, 21, 21, 41, 33, 49, 65, 33, 49, 50, 82)
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
# A tar may grow in compression, so sizes in the zip are 64-bit ones from here on, not from 4 GiB.
_ZIP64: Final = 1 << 31


class Packed(Struct, frozen=True):
    """A package file and the record that describes it."""

    record: Record
    path: Path


def pack(
    spec: PackageSpec,
    folder: Path,
    archive: Format,
    threads: int = 0,
    progress: Progress = SILENT,
) -> Packed:
    """Write ``folder/NAME-VERSION-BUILD.conda`` (or ``.tar.bz2``), atomically.

    Memory stays below 200 MB whatever the size of a file.

    Args:
        threads: the most threads for compression, 0 for one per core; fewer are used where they
            would need too much memory. Never changes the bytes.

    Raises:
        IntegrityError: a file is not, or no longer, what the spec says.
        SpaceError: the disk is full.
        PlaceError: a file cannot be read or the folder not written.
    """
    path = folder / f"{spec.dist}{archive}"
    size = sum(member.size for member in spec.members)
    with progress.phase(f"pack {spec.name}", size, "bytes") as advance, atomic.writing(path) as out:
        if archive == ".conda":
            _write_conda(out, spec, threads, advance)
        else:
            _write_bz2(out, spec, advance)
    # Not hashed while writing: zip goes back to fill in sizes.
    hashes = hash_archive(path)
    raw = {**spec.index(), "md5": hashes.md5, "sha256": hashes.sha256, "size": hashes.size}
    return Packed(Record.of(raw, path.name, path.absolute().as_uri()), path)


def _write_conda(
    out: IO[bytes], spec: PackageSpec, threads: int, advance: Callable[[int], None]
) -> None:
    """Write a stored zip of ``metadata.json`` and two zstd tars (CEP 35)."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        metadata = json.dumps({"conda_pkg_format_version": 2}).encode()
        with archive.open(_zip_entry("metadata.json"), "w") as entry:
            entry.write(metadata)
        for part, members in (("pkg", spec.members), ("info", spec.info())):
            size = tar_size((member.path, member.size) for member in members)
            name = _zip_entry(f"{part}-{spec.dist}.tar.zst")
            with archive.open(name, "w", force_zip64=size > _ZIP64) as entry:
                sink = _ZstdSink(entry, _compressor(size, spec.level, threads))
                tar = TarWriter(sink, advance)
                previous = 0
                for number, member in enumerate(members):
                    if number and begins_job(previous, member.size):
                        sink.flush(zstd.ZstdCompressor.FLUSH_BLOCK)
                    tar.add(member.path, member.size, member.content, member.sha256, member.mode)
                    previous = member.size
                tar.close()
                sink.flush(zstd.ZstdCompressor.FLUSH_FRAME)


def _write_bz2(out: IO[bytes], spec: PackageSpec, advance: Callable[[int], None]) -> None:
    """Write the old format, ``info/`` first, so that it is read without unpacking the payload.

    One bzip2 stream, and so one thread: Python 2 and other old readers stop after the first.
    """
    with bz2.BZ2File(out, "wb", compresslevel=9) as sink:
        tar = TarWriter(sink, advance)
        for member in (*spec.info(), *spec.members):
            tar.add(member.path, member.size, member.content, member.sha256, member.mode)
        tar.close()


def _zip_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _ZIP_TIME)
    entry.create_system = 3  # zipfile would write which system it runs on
    entry.external_attr = 0o644 << 16
    return entry


class _ZstdSink:
    """Compresses what is written and passes it on."""

    def __init__(self, out: IO[bytes], compressor: zstd.ZstdCompressor) -> None:
        self._out, self._compressor = out, compressor

    def write(self, data: bytes, /) -> object:
        return self._out.write(self._compressor.compress(data))

    def flush(self, mode: Literal[1, 2]) -> None:
        self._out.write(self._compressor.flush(mode))


def _compressor(size: int, level: int, threads: int) -> zstd.ZstdCompressor:
    most_threads = max(1, (_MEMORY - 2 * JOB) // ((_CONTEXT[level - 1] << 20) + JOB))
    option = zstd.CompressionParameter
    compressor = zstd.ZstdCompressor(
        options={
            option.compression_level: level,
            option.checksum_flag: 1,
            # At least one worker: without any, zstd gives other bytes than with one or more.
            option.nb_workers: max(1, min(threads or os.cpu_count() or 1, most_threads)),
            option.job_size: JOB,
            option.overlap_log: _OVERLAP,
        }
    )
    compressor.set_pledged_input_size(size)
    return compressor
