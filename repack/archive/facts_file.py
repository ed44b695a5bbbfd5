"""The file in which the facts of an archive are kept.

Apart from the reader of archives, so that a build whose archives are all known does not import the
decompressors.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from repack.archive.facts import Facts
from repack.errors import IntegrityError, PlaceError
from repack.fs.atomic import read, write_cached

if TYPE_CHECKING:
    from pathlib import Path

_FACTS_LIMIT: Final = 16 << 20  # bytes of a file of facts


def read_facts(cache: Path) -> Facts | None:
    """Read a file of facts; None when it is missing, damaged or of another version."""
    try:
        return Facts.of_json(json.loads(read(cache, _FACTS_LIMIT)))
    except (PlaceError, IntegrityError, ValueError, RecursionError):
        return None


def write_facts(cache: Path, facts: Facts) -> None:
    """Write a file of facts. Raises as :func:`repack.fs.atomic.write` does."""
    write_cached(cache, json.dumps(facts.to_json()).encode("ascii"))
