"""Archives that were made from upstream's, and the notes of them in the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from repack.codec.canonical import loads
from repack.codec.decode import Document, decode, encode
from repack.errors import IntegrityError, PlaceError
from repack.fs.atomic import read, write_cached
from repack.names import Digest

if TYPE_CHECKING:
    from pathlib import Path

_NOTE_LIMIT: Final = 4096


class DerivedArchive(Document, frozen=True):
    """The archive that was made from another one."""

    sha256: Digest
    md5: str
    size: int


def read_derived(note: Path) -> DerivedArchive | None:
    """Which archive was made, by the note in the store; None without a usable note."""
    try:
        document = loads(read(note, _NOTE_LIMIT), note, _NOTE_LIMIT)
        return decode(DerivedArchive, document, note, "note of a derived archive")
    except (PlaceError, IntegrityError):
        return None


def write_derived(note: Path, archive: DerivedArchive) -> None:
    """Note which archive was made. Raises as :func:`repack.fs.atomic.write` does."""
    write_cached(note, json.dumps(encode(archive)).encode("ascii"))
