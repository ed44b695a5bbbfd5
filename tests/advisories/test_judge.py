"""What is said of packages: affected, accepted, unknown."""

from __future__ import annotations

import datetime as dt
import json

from repack.advisories.document import DatabaseInfo, Judgement
from repack.advisories.judge import Request, Subject, judge
from repack.advisories.osv import parse_entry
from repack.advisories.policy import Acceptance, AdvisoryPolicy
from tests.advisories.databases import CRITICAL, entry

INFO = DatabaseInfo("osv.zip", "ab" * 32, "2026-11-28T10:00:00Z", 3)
DAY = dt.date(2026, 11, 29)


def judged(subjects, *entries, **policy) -> Judgement:
    rows = [a for e in entries for a in parse_entry(json.dumps(e).encode(), "x").advisories]
    return judge(subjects, rows, Request(INFO, AdvisoryPolicy("x", **policy), DAY))


def package(name: str, version: str = "1.0", **fields) -> Subject:
    return Subject.of_fields(f"noarch/{name}.conda", {"name": name, "version": version, **fields})


OLD = ({"introduced": "0"}, {"fixed": "2.0"})
GHSA = entry(
    "torch",
    "GHSA-1",
    *OLD,
    aliases=["CVE-2026-1"],
    severity=[{"type": "CVSS_V3", "score": CRITICAL}],
)
PYSEC = entry("torch", "PYSEC-1", *OLD, aliases=["CVE-2026-1"])


def test_one_vulnerability_of_two_entries_is_told_once():
    result = judged([package("pytorch")], GHSA, PYSEC)
    (finding,) = result.findings
    assert (finding.id, finding.aliases) == ("CVE-2026-1", ("GHSA-1", "PYSEC-1"))
    assert (finding.severity, finding.fixed) == ("critical", "2.0")
    assert finding.known_as == "pkg:pypi/torch@1.0"
    assert "1 of 1" in result.summary()
    assert judged([package("pytorch", "2.0")], GHSA).findings == ()


def test_what_cannot_be_mapped_is_unknown_never_clean():
    result = judged([package("openssl", "3.0"), package("pytorch", "2.0")], GHSA)
    assert result.unknown == ("noarch/openssl.conda",)
    assert "1 are unknown" in result.summary()
    # A version that is none of PyPI's cannot be compared.
    assert judged([package("pytorch", "2.0_beta_x")], GHSA).unknown
    # Without any entry on it, too.
    assert judged([package("pytorch", "2.0")]).unknown == ()


def test_a_namesake_is_told_and_stays_unknown():
    fields = {"depends": ["python >=3.11"]}
    alike = entry("cryptography", "GHSA-3", *OLD)
    result = judged([package("cryptography", **fields)], alike)
    assert result.findings[0].by_name
    assert result.unknown
    assert judged([package("cryptography")], alike).findings == ()


def test_a_vendors_own_advisory_on_a_conda_package():
    own = entry("x", "ACME-1")
    own["affected"] = [{
        "package": {"ecosystem": "conda", "name": "OpenSSL"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "3"}, {"fixed": "3.0.8a"}]}],
    }]  # fmt: skip
    result = judged([package("openssl", "3.0.7q")], own)
    assert [f.id for f in result.findings] == ["ACME-1"]
    assert result.unknown, "one advisory does not make it known"
    assert judged([package("openssl", "3.0.9")], own).findings == ()


def test_accepted_up_to_its_last_day():
    def accept(day, identifier="ghsa-1"):
        rows = (Acceptance(identifier, dt.date.fromisoformat(day), "no server"),)
        return judged([package("pytorch")], GHSA, accept=rows)

    assert accept("2026-11-29").open == ()
    assert accept("2026-11-29").findings[0].why_accepted == "no server"
    past = accept("2026-11-28")
    assert past.open
    assert "accepted until 2026-11-28" in past.ended[0]
    assert accept("2026-12-24", "CVE-2026-1").open == ()
    assert accept("2026-12-24", "CVE-2026-2").open
    # One that is past and not needed any more is nobody's concern.
    gone = (Acceptance("CVE-2000-1", dt.date(2020, 1, 1), "old"),)
    assert judged([package("pytorch", "2.0")], GHSA, accept=gone).ended == ()


def test_the_document_comes_back():
    result = judged([package("pytorch"), package("openssl")], GHSA, PYSEC)
    assert Judgement.parse(result.to_bytes(), "x") == result


def test_the_age_of_a_database():
    now = dt.datetime(2026, 12, 10, tzinfo=dt.UTC)
    assert INFO.age_fault(now, 30) is None
    assert "11 days old, more than 7" in INFO.age_fault(now, 7)
    assert "to come" in INFO.age_fault(now.replace(year=2020), 7)
    assert "does not say" in DatabaseInfo("x", "ab" * 32, "", 1).age_fault(now, 7)
