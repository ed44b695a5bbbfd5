"""OpenVEX: what the specification (0.2.0) asks of a document and of each statement."""

from __future__ import annotations

import json

from repack.advisories.document import DatabaseInfo, Finding, Judgement
from repack.advisories.openvex import openvex

BASE = Finding(
    "noarch/a.conda", "pytorch", "1.0", "pkg:pypi/torch@1.0", "CVE-1-1", ("GHSA-1",), fixed="2.0"
)


def document(*findings: Finding) -> dict:
    judgement = Judgement(DatabaseInfo("x", "ab" * 32, "", 1), "", 1, findings=findings)
    data = openvex(judgement, "bank", 3, "2026-11-29T12:00:00Z")
    assert data == openvex(judgement, "bank", 3, "2026-11-29T12:00:00Z")
    return json.loads(data)


def test_every_status_has_what_it_needs():
    from msgspec.structs import replace

    accepted = replace(BASE, id="CVE-2-2", accepted_until="2027-01-31", why_accepted="no server")
    unsure = replace(BASE, id="CVE-3-3", by_name=True)
    unfixed = replace(BASE, id="CVE-4-4", fixed="")
    told = document(BASE, accepted, unsure, unfixed)
    assert told["@context"] == "https://openvex.dev/ns/v0.2.0"
    assert {"@id", "author", "timestamp", "version"} <= told.keys()
    rows = {row["vulnerability"]["name"]: row for row in told["statements"]}
    assert rows["CVE-1-1"]["products"] == [{"@id": "pkg:pypi/torch@1.0"}]
    assert rows["CVE-1-1"]["vulnerability"]["aliases"] == ["GHSA-1"]
    assert {name: row["status"] for name, row in rows.items()} == {
        "CVE-1-1": "affected", "CVE-2-2": "affected",
        "CVE-3-3": "under_investigation", "CVE-4-4": "affected",
    }  # fmt: skip
    # An affected product needs an action; what is accepted is not called unaffected.
    assert rows["CVE-1-1"]["action_statement"] == "Update pytorch to 2.0"
    assert "no server" in rows["CVE-2-2"]["action_statement"]
    assert rows["CVE-4-4"]["action_statement"]


def test_without_findings_it_states_nothing():
    assert document()["statements"] == []
    assert document()["@id"] != document(BASE)["@id"]
