"""The findings of a release as OpenVEX, for programs that collect such statements.

Source: OpenVEX specification 0.2.0.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from repack.codec.canonical import canonical, encode_rows
from repack.names import RelPath

if TYPE_CHECKING:
    from repack.advisories.document import Finding, Judgement

OPENVEX_PATH: Final = RelPath("repack/openvex.json")


def openvex(judgement: Judgement, label: str, release: int, date: str) -> bytes:
    """The document of a release; the same release gives the same bytes.

    An advisory that the label accepts is still said to affect: accepting is no proof that the fault
    cannot be reached. What was found by a package's name alone is under investigation.
    """
    document: dict[str, Any] = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "author": f"repack, for {label} release {release}",
        "timestamp": date,
        "version": 1,
        "statements": [_statement(finding) for finding in judgement.findings],
    }
    digest = hashlib.sha256(canonical(document)).digest()
    return encode_rows({"@id": f"urn:uuid:{UUID(bytes=digest[:16], version=5)}", **document})


def _statement(finding: Finding) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "vulnerability": {"name": finding.id, "aliases": list(finding.aliases)},
        "products": [{"@id": finding.known_as}],
    }
    if finding.summary:
        statement["vulnerability"]["description"] = finding.summary
    if finding.by_name:
        notes = f"{finding.name} is known by its name alone"
        return {**statement, "status": "under_investigation", "status_notes": notes}
    action = f"Update {finding.name} to {finding.fixed}" if finding.fixed else "No fixed version"
    if finding.accepted_until:
        action = f"Accepted until {finding.accepted_until}: {finding.why_accepted}"
    return {**statement, "status": "affected", "action_statement": action}
