"""Packs a conda package from files: reproducible, streamed, in both formats.

conda-package-streaming writes packages too, but it spools the payload to a temporary file first,
writes the time of day into the zip, and its bytes depend on the number of threads.
``rattler_build.assemble_package`` needs all files copied into one folder. So the three containers
(tar, zstd, zip) are combined here, each by the library for it.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import zipfile
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct

from repack.archive.package import JOB, begins_job
from repack.archive.tar_writer import TarWriter, tar_size
from repack.conda.record import Record
from repack.fs import atomic
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import zstandard

    from repack.archive.package import Format, PackageSpec

# Job boundaries follow from the content alone, so that the bytes do not depend on the number of
# threads. 1 is zstd's word for: no job refers to the data of the one before.
_OVERLAP: Final = 1
_MEMORY: Final = 112 << 20
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
    sha256, md5, count = _digests(path)
    raw = {**spec.index(), "md5": md5, "sha256": sha256, "size": count}
    return Packed(Record.of(raw, path.name, path.absolute().as_uri()), path)


def _write_conda(
    out: IO[bytes], spec: PackageSpec, threads: int, advance: Callable[[int], None]
) -> None:
    """Write a stored zip of ``metadata.json`` and two zstd tars (CEP 35)."""
    import zstandard

    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        metadata = json.dumps({"conda_pkg_format_version": 2}).encode()
        with archive.open(_zip_entry("metadata.json"), "w") as entry:
            entry.write(metadata)
        for part, members in (("pkg", spec.members), ("info", spec.info())):
            size = tar_size((member.path, member.size) for member in members)
            compressor = _zstd(size, spec.level, threads)
            name = _zip_entry(f"{part}-{spec.dist}.tar.zst")
            with archive.open(name, "w", force_zip64=size > _ZIP64) as entry:
                sink = compressor.stream_writer(entry, size=size, closefd=False)
                tar = TarWriter(sink, advance)
                previous = 0
                for number, member in enumerate(members):
                    if number and begins_job(previous, member.size):
                        sink.flush(zstandard.FLUSH_BLOCK)
                    tar.add(member.path, member.size, member.content, member.sha256)
                    previous = member.size
                tar.close()
                # No `with`: after an error, closing the sink would raise another one.
                sink.flush(zstandard.FLUSH_FRAME)


def _write_bz2(out: IO[bytes], spec: PackageSpec, advance: Callable[[int], None]) -> None:
    """Write the old format, ``info/`` first, so that it is read without unpacking the payload.

    One bzip2 stream, and so one thread: Python 2 and other old readers stop after the first.
    """
    with bz2.BZ2File(out, "wb", compresslevel=9) as sink:
        tar = TarWriter(sink, advance)
        for member in (*spec.info(), *spec.members):
            tar.add(member.path, member.size, member.content, member.sha256)
        tar.close()


def _zip_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _ZIP_TIME)
    entry.create_system = 3  # zipfile would write which system it runs on
    entry.external_attr = 0o644 << 16
    return entry


def _zstd(size: int, level: int, threads: int) -> zstandard.ZstdCompressor:
    import zstandard

    preset = zstandard.ZstdCompressionParameters.from_level
    per_thread = preset(level, source_size=size).estimated_compression_context_size() + JOB
    most_threads = max(1, (_MEMORY - 2 * JOB) // per_thread)
    parameters = preset(
        level,
        source_size=size,
        # At least one worker: without any, zstd gives other bytes than with one or more.
        threads=max(1, min(threads or os.cpu_count() or 1, most_threads)),
        job_size=JOB,
        overlap_log=_OVERLAP,
        write_checksum=True,
        write_content_size=True,
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def _digests(path: Path) -> tuple[str, str, int]:
    """SHA-256, MD5 and size. Not computed while writing: zip goes back to fill in sizes."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with atomic.os_errors_at(path), path.open("rb") as stream:
        while data := stream.read(atomic.CHUNK):
            sha256.update(data)
            md5.update(data)
            size += len(data)
    return sha256.hexdigest(), md5.hexdigest(), size
