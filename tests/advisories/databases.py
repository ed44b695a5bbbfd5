"""Databases of OSV that the tests make."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"


def entry(name: str, identifier: str, *events: dict[str, str], **fields: Any) -> dict[str, Any]:
    """An entry on ``name`` of PyPI, with one range of ``events``."""
    affected: dict[str, Any] = {"package": {"ecosystem": "PyPI", "name": name}}
    if events:
        affected["ranges"] = [{"type": "ECOSYSTEM", "events": list(events)}]
    return {
        "schema_version": "1.7.0",
        "id": identifier,
        "modified": "2026-11-28T10:00:00.123456Z",
        "summary": f"A fault of {name}",
        "affected": [affected],
        **fields,
    }


def write_zip(path: Path, *entries: dict[str, Any]) -> Path:
    """The export of one ecosystem."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in entries:
            archive.writestr(f"{one['id']}.json", json.dumps(one))
    return path
