"""``repodata.json`` from records in hand (CEP 36; conda-index's layout, version 1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repack.conda.record import Record


def encode(document: object) -> bytes:
    """JSON as repack publishes it: sorted keys, no white space, ASCII, a final newline."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"


def repodata(subdir: str, records: Iterable[Record]) -> dict[str, Any]:
    """The repodata document of one subdir; each record is upstream's, field for field."""
    packages: dict[str, Any] = {}
    packages_conda: dict[str, Any] = {}
    for record in records:
        section = packages_conda if record.fn.endswith(".conda") else packages
        section[record.fn] = dict(record.raw)
    return {
        "info": {"subdir": subdir},
        "packages": packages,
        "packages.conda": packages_conda,
        "removed": [],
        "repodata_version": 1,
    }


def repodata_bytes(subdir: str, records: Iterable[Record]) -> bytes:
    """The bytes of ``repodata.json`` for one subdir."""
    return encode(repodata(subdir, records))
