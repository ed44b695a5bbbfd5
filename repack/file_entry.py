"""What a file must be: its path in a channel or archive, its size and its SHA-256.

Lists of files are read into this one type (the integrity list, a release's packages, an install
plan), and what lies in a folder is measured into it, so that the two can be compared. TUF's
``TargetFile`` and aptly's ``ChecksumInfo`` are the same.
"""

from __future__ import annotations

import hashlib
from typing import Final

from msgspec import Struct

from repack.names import Digest, RelPath

UNKNOWN_SIZE: Final = -1


class FileEntry(Struct, frozen=True):
    """One file.

    Attributes:
        size: in bytes; :data:`UNKNOWN_SIZE` where a list by another tool states none.
    """

    path: RelPath
    size: int
    sha256: Digest

    @classmethod
    def of_bytes(cls, path: RelPath, data: bytes) -> FileEntry:
        """The entry of a file with the content ``data``."""
        return cls(path, len(data), Digest(hashlib.sha256(data).hexdigest()))

    @property
    def dist(self) -> str:
        """The file name without its package suffix: the folder's name in a package cache."""
        name = self.path.rpartition("/")[2]
        return name.removesuffix(".conda").removesuffix(".tar.bz2")
