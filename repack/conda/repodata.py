"""``repodata.json``, read and written (CEP 36; conda-index's layout, version 1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from repack.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repack.conda.record import Record

# The sections of a repodata and of patch instructions, with the suffix of the archives they hold.
SECTIONS: Final = {"packages": ".tar.bz2", "packages.conda": ".conda"}


def encode_json(document: object) -> bytes:
    """Write JSON as repack publishes it: sorted keys, no white space, ASCII, a final newline."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"


def section_of(fn: str) -> str:
    """The section that holds the record of the archive ``fn``."""
    return "packages.conda" if fn.endswith(".conda") else "packages"


def read_rows(document: object, where: object) -> dict[str, dict[str, Any]]:
    """File name -> row, of both sections; rows of ``.tar.bz2`` come first.

    Args:
        document: a ``repodata.json`` or ``patch_instructions.json``, as :func:`json.loads` gave it.
        where: the file, for the error.

    Raises:
        IntegrityError: the document or a section is no object, or a row of it is none.
    """
    if not isinstance(document, dict):
        raise IntegrityError("repodata is no object", where=where)
    rows_by_fn: dict[str, dict[str, Any]] = {}
    for section in SECTIONS:
        rows = document.get(section, {})
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise IntegrityError(f"{section} is malformed", where=where)
        rows_by_fn |= rows
    return rows_by_fn


def repodata_bytes(subdir: str, records: Iterable[Record]) -> bytes:
    """Compose ``repodata.json`` of one subdir; each record is upstream's, field for field."""
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for record in records:
        sections[section_of(record.fn)][record.fn] = dict(record.raw)
    return encode_json(
        {"info": {"subdir": subdir}, **sections, "removed": [], "repodata_version": 1}
    )
