"""``integrity.json``: every file of a channel with SHA-256 and size.

The manifest names this file by SHA-256, so one signature covers every byte of a channel::

    manifest.json (signed)  ->  integrity.json  ->  all files

Not listed, because they cannot be: the list itself, the manifest that pins it, and the signed
metadata that pins the manifest. What systems and tools drop into a folder is not listed either,
see :func:`repack.channel.layout.is_litter`. ``verify.py`` in :mod:`repack.shipped` holds the same
rules a second time, for it must run alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from repack.channel.layout import INTEGRITY_PATH
from repack.codec.canonical import loads
from repack.codec.decode import Document, Size, decode
from repack.errors import IntegrityError
from repack.file_entry import UNKNOWN_SIZE, FileEntry
from repack.names import Digest, RelPath

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES: Final = 256 << 20


class _Row(Document, frozen=True):
    """A file as it stands in the list."""

    path: RelPath
    sha256: Digest
    size: Size | None = None


def to_bytes(entries: Iterable[FileEntry]) -> bytes:
    """The list as a file, one line an entry, so that two releases can be compared by eye."""
    rows = sorted(entries, key=lambda entry: entry.path)
    _unique([entry.path for entry in rows], INTEGRITY_PATH)
    lines = [
        json.dumps({"path": row.path, "sha256": row.sha256, "size": row.size}, ensure_ascii=False)
        for row in rows
    ]
    return ('{"files": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def parse(data: bytes, where: object) -> dict[RelPath, FileEntry]:
    """Read a list, strict on paths, hashes and sizes, lenient on fields it does not know.

    Besides the form written here it takes ``{path: sha256}``, bare or under ``files``, which
    other tools write.

    Raises:
        IntegrityError: malformed, or a path twice or leading out of the folder.
    """
    document = loads(data, where, MAX_BYTES)
    files = document.get("files", document) if isinstance(document, dict) else document
    if isinstance(files, dict):
        rows = [
            {"path": path, **(value if isinstance(value, dict) else {"sha256": value})}
            for path, value in files.items()
        ]
    elif isinstance(files, list):
        rows = files
    else:
        raise IntegrityError("the list of files is malformed", where=where)
    listed = decode(tuple[_Row, ...], rows, where, "list of files")
    entries = [
        FileEntry(row.path, UNKNOWN_SIZE if row.size is None else row.size, row.sha256)
        for row in listed
    ]
    _unique([entry.path for entry in entries], where)
    return {entry.path: entry for entry in entries}


def _unique(paths: list[RelPath], where: object) -> None:
    """Refuse paths that are one file on Windows: which of the two was checked there?"""
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(path.casefold(), path)
        if other is not path:
            raise IntegrityError("a path stands twice", where=where, got=f"{other}, {path}")
