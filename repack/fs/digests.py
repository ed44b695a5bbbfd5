"""SHA-256 and SHA-384 of files and streams."""

from __future__ import annotations

import hashlib
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from repack.file_entry import FileEntry
from repack.fs import beneath
from repack.fs.atomic import CHUNK, os_errors_at
from repack.names import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from repack.names import RelPath


def file_entry(path: RelPath, file: Path) -> FileEntry:
    """What ``file`` is, as the entry of a list in which it stands as ``path``."""
    sha256, size = digest(file)
    return FileEntry(path, size, sha256)


class ArchiveHashes(Struct, frozen=True):
    """The hashes of a package archive, as a repodata record has them, and its size in bytes."""

    sha256: Digest
    md5: str
    size: int


def hash_archive(path: Path) -> ArchiveHashes:
    """Hash a package archive, reading it once.

    Raises:
        PlaceError: it cannot be read.
    """
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size, buffer = 0, bytearray(CHUNK)
    view = memoryview(buffer)
    with os_errors_at(path), beneath.reading(path, 0) as stream:
        while count := stream.readinto(buffer):
            sha256.update(view[:count])
            md5.update(view[:count])
            size += count
    return ArchiveHashes(Digest(sha256.hexdigest()), md5.hexdigest(), size)


def sha384(path: Path) -> str:
    """SHA-384 of a file, as manifests want it."""
    digest, buffer = hashlib.sha384(), bytearray(CHUNK)
    view = memoryview(buffer)
    with os_errors_at(path), beneath.reading(path, 0) as stream:
        while count := stream.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def digest(path: Path) -> tuple[Digest, int]:
    """SHA-256 and size in bytes of a file."""
    with os_errors_at(path), beneath.reading(path) as stream:
        return digest_stream(stream)


def digest_stream(stream: IO[bytes]) -> tuple[Digest, int]:
    """SHA-256 and size in bytes of what is left in ``stream``."""
    sha, size, buffer = hashlib.sha256(), 0, bytearray(CHUNK)
    view = memoryview(buffer)
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]
        sha.update(view[:count])
        size += count
    return Digest(sha.hexdigest()), size
