"""Makes ``.tar.bz2`` archives of ``.conda`` ones, for conda below 4.7.

Members go from one stream to the other and never to a disk, which may be blind to case and lose
one of two files (mamba#2328). Same input and same version of the tools: same bytes.
"""

from __future__ import annotations

import bz2
import functools
import hashlib
import io
import sys
import tarfile
from typing import IO, TYPE_CHECKING, Final

from repack.archive.reader import DAMAGE
from repack.errors import IntegrityError
from repack.fs import beneath
from repack.fs.atomic import os_errors_at
from repack.names import Digest
from repack.store.derived import DerivedArchive

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import ReadableBuffer

    from repack.conda.record import Record

# The description goes first, so that a reader of the stream knows early what it has.
_PARTS: Final = ("info", "pkg")
_LEVEL: Final = 9


@functools.cache
def recipe() -> str:
    """What the bytes of a conversion depend on, beside the archive."""
    from importlib.metadata import version

    streaming = version("conda-package-streaming")
    return f"tarbz2-{streaming}-py{sys.version_info[0]}.{sys.version_info[1]}"


def convert(source: Path, record: Record, target: Path) -> DerivedArchive:
    """Write the ``.conda`` archive ``source`` of ``record`` as ``target``, a new ``.tar.bz2``.

    Raises:
        IntegrityError: the archive is damaged.
        SpaceError: the disk is full.
        PlaceError: a file cannot be read or written.
    """
    from conda_package_streaming.package_streaming import stream_conda_component

    try:
        with (
            os_errors_at(target),
            beneath.reading(source) as stream,
            beneath.writing(target, new=True) as file,
        ):
            hashed = _Hashed(file)
            with (
                bz2.BZ2File(hashed, "wb", compresslevel=_LEVEL) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                for part in _PARTS:
                    for tar, member in stream_conda_component(record.fn, stream, part):
                        data = tar.extractfile(member) if member.isfile() else None
                        archive.addfile(member, data)
    except (*DAMAGE, tarfile.TarError, LookupError, AssertionError) as fault:
        raise IntegrityError("archive is damaged", where=record.path, got=fault) from fault
    return DerivedArchive(Digest(hashed.sha256.hexdigest()), hashed.md5.hexdigest(), hashed.size)


class _Hashed(io.RawIOBase):
    """Hashes what is written on its way to the file."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self.sha256 = hashlib.sha256()
        # Old conda checks nothing else. Nobody else relies on it, so a FIPS host may compute it.
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        view = memoryview(data)
        self.sha256.update(view)
        self.md5.update(view)
        self.size += view.nbytes
        self._file.write(view)
        return view.nbytes
