"""SHA-256 and SHA-384 of files and streams."""

from __future__ import annotations

import hashlib
from typing import IO, TYPE_CHECKING

from repack.file_entry import FileEntry
from repack.fs.atomic import CHUNK, os_errors_at
from repack.names import Digest

if TYPE_CHECKING:
    from pathlib import Path

    from repack.names import RelPath


def file_entry(path: RelPath, file: Path) -> FileEntry:
    """What ``file`` is, as the entry of a list in which it stands as ``path``."""
    sha256, size = digest(file)
    return FileEntry(path, size, sha256)


def sha384(path: Path) -> str:
    """SHA-384 of a file, as manifests want it."""
    digest, buffer = hashlib.sha384(), bytearray(CHUNK)
    view = memoryview(buffer)
    with os_errors_at(path), path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def digest(path: Path) -> tuple[Digest, int]:
    """SHA-256 and size in bytes of a file."""
    with os_errors_at(path), path.open("rb") as stream:
        return digest_stream(stream)


def digest_stream(stream: IO[bytes]) -> tuple[Digest, int]:
    """SHA-256 and size in bytes of what is left in ``stream``."""
    sha, size, buffer = hashlib.sha256(), 0, bytearray(CHUNK)
    view = memoryview(buffer)
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]
        sha.update(view[:count])
        size += count
    return Digest(sha.hexdigest()), size
