"""The report of a recovery: signed, and chained to the report before it.

``sequence`` counts from 1 in a folder of reports; ``previous`` is the name and SHA-384 of the file
before. A report that is changed, dropped or inserted breaks the chain or a signature; that the *last*
report is missing shows in the store, which holds a copy of each.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from repack.codec.canonical import loads
from repack.errors import RepackError
from repack.keys.signed_json import verify_json
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repack.keys.shared_key import SharedKey

KIND: Final = "repack-license-recovery"
LIMIT: Final = 4 << 20


class RecoveryReport(Value, frozen=True):
    """A report's file; ``sequence`` is 0 when the file has no number."""

    hidden_fields: ClassVar = ("document",)

    name: str
    sequence: int
    sha384: str
    document: Mapping[str, Any]

    @classmethod
    def parse(cls, data: bytes, name: str) -> RecoveryReport | None:
        """Read a file of the reports' folder; None when it is no report of a recovery."""
        try:
            document = loads(data, name, LIMIT)
        except RepackError:
            return None
        if not isinstance(document, dict) or document.get("kind") != KIND:
            return None
        sequence = document.get("sequence")
        number = sequence if isinstance(sequence, int) else 0
        return cls(name, number, hashlib.sha384(data).hexdigest(), document)


def chain_link(earlier: Iterable[RecoveryReport]) -> dict[str, object]:
    """``sequence`` and ``previous`` of the report that comes after ``earlier``."""
    last = max(earlier, key=lambda report: report.sequence, default=None)
    if last is None:
        return {"sequence": 1, "previous": None}
    return {
        "sequence": last.sequence + 1,
        "previous": {"name": last.name, "sha384": last.sha384},
    }


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """The bytes of a report's file."""
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n"


def report_faults(
    reports: Iterable[RecoveryReport],
    keys: Sequence[SharedKey],
    in_store: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """The faults of a folder of reports.

    Args:
        reports: the folder.
        keys: the vendor's, the store's or both; a report must be signed by one of them.
        in_store: the copies in a store; each must be in the folder as it is.
    """
    ordered = sorted(reports, key=lambda report: (report.sequence, report.name))
    faults: list[str] = []
    before: RecoveryReport | None = None
    for number, report in enumerate(ordered, 1):
        if report.sequence != number:
            faults.append(f"{report.name}: is number {report.sequence}, {number} was expected")
        expected = {"name": before.name, "sha384": before.sha384} if before else None
        if report.document.get("previous") != expected:
            faults.append(f"{report.name}: does not follow {before.name if before else 'nothing'}")
        if keys and not any(_fits(report, key) for key in keys):
            faults.append(f"{report.name}: not signed by a key that was given")
        before = report
    documents = [dict(report.document) for report in ordered]
    faults += [
        f"report {copy.get('sequence')} of the store is missing in the folder"
        for copy in in_store
        if dict(copy) not in documents
    ]
    return faults


def _fits(report: RecoveryReport, key: SharedKey) -> bool:
    try:
        verify_json(report.document, key)
    except RepackError:
        return False
    return True
