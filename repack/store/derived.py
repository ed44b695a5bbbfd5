"""Archives that were made from upstream's, and what is noted of them in the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from repack.errors import IntegrityError, PlaceError
from repack.fs.atomic import read, write_cached
from repack.names import Digest

if TYPE_CHECKING:
    from pathlib import Path


_NOTE_LIMIT: Final = 4096


class DerivedArchive(Struct, frozen=True):
    """The archive that was made of another one."""

    sha256: Digest
    md5: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """For the note that is kept in the store."""
        return {"sha256": self.sha256, "md5": self.md5, "size": self.size}

    @classmethod
    def of_json(cls, data: Any) -> DerivedArchive | None:
        """From a note; None when it is none."""
        try:
            return cls(Digest(data["sha256"]), str(data["md5"]), int(data["size"]))
        except (KeyError, TypeError, ValueError, AttributeError, IntegrityError):
            return None


def read_derived(note: Path) -> DerivedArchive | None:
    """Which archive was made, by the note in the store; None without a usable note."""
    try:
        return DerivedArchive.of_json(json.loads(read(note, _NOTE_LIMIT)))
    except (PlaceError, IntegrityError, ValueError):
        return None


def write_derived(note: Path, made: DerivedArchive) -> None:
    """Note which archive was made. Raises as :func:`repack.fs.atomic.write` does."""
    write_cached(note, json.dumps(made.to_json()).encode("ascii"))
