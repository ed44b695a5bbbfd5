"""A label that names a database: the report, the manifest, and what fails a build."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from repack.advisories import database
from repack.cli.main import run
from tests import tiny
from tests.advisories.databases import CRITICAL, entry, write_zip
from tests.world import World, snapshot

GRAVE = {"severity": [{"type": "CVSS_V3", "score": CRITICAL}], "aliases": ["CVE-2026-7"]}
PIP = entry("pip", "GHSA-7", {"introduced": "0"}, {"fixed": "24.1"}, **GRAVE)
OTHER = entry("torch", "GHSA-8", {"introduced": "0"})


def set_clock(monkeypatch, moment: str) -> None:
    """Of the build and of the machine: what is signed must be of its own day."""
    then = dt.datetime.fromisoformat(moment)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(then.timestamp())))
    monkeypatch.setattr("repack.host.now", lambda: then)


@pytest.fixture
def world(tmp_path, monkeypatch):
    set_clock(monkeypatch, "2026-11-29T12:00:00Z")
    made = World(tmp_path / "vendör x", {"platforms": {"linux-64": {}}})
    made.source = write_zip(made.labels / "osv.zip", PIP, OTHER)
    return made


def report(world, *words):
    document = json.loads((world.channel / "repack/advisories.json").read_bytes())
    return document, json.loads((world.channel / "repack/manifest.json").read_bytes())


def test_a_finding_is_in_page_bill_manifest_and_document(world, capsys):
    outcome = world.build(advisories={"source": "osv.zip"})
    assert any("1 of 5 packages have known vulnerabilities" in w for w in outcome["warnings"])
    document, manifest = report(world)
    (finding,) = document["findings"]
    assert (finding["id"], finding["severity"], finding["fixed"]) == (
        "CVE-2026-7",
        "critical",
        "24.1",
    )
    assert finding["package"] == "noarch/pip-24.0-pyh0_0.conda"
    # Of `tiny-lib` nobody knows anything, so nobody says that it is clean.
    assert "linux-64/tiny-lib-1!2.0+x-0.conda" in document["unknown"]
    assert [row["name"] for row in document["advisories"]] == ["pip"]
    assert manifest["advisories"] == document["database"]
    assert manifest["advisories"]["date"] == "2026-11-28T10:00:00Z"
    assert len(manifest["advisories"]["sha256"]) == 64
    page = (world.channel / "index.html").read_text()
    assert "CVE-2026-7" in page
    assert manifest["advisories"]["sha256"] in page
    bom = (world.channel / "repack/sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom) is None
    (weak,) = Bom.from_json(json.loads(bom)).vulnerabilities
    assert (weak.id, weak.recommendation) == ("CVE-2026-7", "Update pip to 24.1")
    assert [target.ref for target in weak.affects] == [finding["package"]]
    vex = json.loads((world.channel / "repack/openvex.json").read_bytes())
    (statement,) = vex["statements"]
    assert statement["vulnerability"]["name"] == "CVE-2026-7"
    assert statement["products"] == [{"@id": "pkg:pypi/pip@24.0"}]
    folders = ["--channels-dir", str(world.channels)]
    assert run(["report", "bank", "--advisories", *folders]) == 0
    assert "CVE-2026-7 (critical): pip 24.0, fixed in 24.1" in capsys.readouterr().out
    assert run(["report", "bank", "--advisories", "--json", *folders]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == document["findings"]


def test_it_is_one_of_the_signed_files(world, capsys):
    world.build(advisories={"source": "osv.zip"})
    assert run(["verify", str(world.channel)]) == 0
    path = world.channel / "repack/advisories.json"
    path.write_text(path.read_text().replace("critical", "unknown"))
    assert run(["verify", str(world.channel)]) == 6
    assert "repack/advisories.json" in "".join(capsys.readouterr())


def test_deny_fails_and_names_way_and_fix(world):
    world.build()
    message = world.fail(7, advisories={"source": "osv.zip", "deny": "high"})
    assert "CVE-2026-7 (critical): pip 24.0, fixed in 24.1" in message
    assert "tiny-app -> python -> pip" in message
    grave = {"source": "osv.zip", "deny": "critical"}
    accepted = [{"id": "GHSA-7", "until": "2026-11-29", "why": "not reachable: no server"}]
    outcome = world.build(advisories={**grave, "accept": accepted})
    assert outcome["changed"]
    document, _ = report(world)
    assert document["findings"][0]["accepted_until"] == "2026-11-29"


def test_an_acceptance_past_its_day_accepts_nothing(world, monkeypatch):
    policy = {"source": "osv.zip", "deny": "critical"}
    accepted = [{"id": "CVE-2026-7", "until": "2026-11-29", "why": "no server"}]
    world.build(advisories={**policy, "accept": accepted})
    assert not world.build()["changed"]
    set_clock(monkeypatch, "2026-11-30T00:00:01Z")
    assert "CVE-2026-7" in world.fail(7)
    outcome = world.build(advisories={"source": "osv.zip", "accept": accepted})
    assert any("CVE-2026-7 was accepted until 2026-11-29" in w for w in outcome["warnings"])


def test_an_old_database_is_told(world, monkeypatch):
    set_clock(monkeypatch, "2026-12-24T12:00:00Z")
    accepted = [{"id": "CVE-2026-7", "until": "2027-11-29", "why": "no server"}]
    policy = {"source": "osv.zip", "max_age": "14d", "accept": accepted}
    old = "database osv.zip is 26 days old, more than 14"
    assert any(old in line for line in world.build(advisories=policy)["warnings"])
    unchanged = world.build()
    assert not unchanged["changed"]
    assert any(old in line for line in unchanged["warnings"])
    assert old in world.fail(7, strict=True)


def test_only_what_concerns_the_label_makes_a_release(world, monkeypatch):
    world.build(advisories={"source": "osv.zip"})
    write_zip(world.source, PIP)
    assert not world.build()["changed"]
    later = entry("pip", "GHSA-9", {"introduced": "25"}, {"fixed": "26"})
    write_zip(world.source, PIP, later)
    assert world.build()["release"] == 2


def test_bad_databases_and_labels(world):
    world.build()
    world.source.write_bytes(world.source.read_bytes()[:100])
    message = world.fail(6, advisories={"source": "osv.zip"})
    assert "no whole zip" in message
    assert "osv.zip" in message
    assert "no database" in world.fail(2, advisories={"source": "nowhere.zip"})
    assert "one of low, medium" in world.fail(3, advisories={"source": "x", "deny": "severe"})
    assert "days" in world.fail(3, advisories={"source": "x", "max_age": "a week"})
    bad = {"source": "x", "accept": [{"id": "CVE-1", "until": "soon", "why": "x"}]}
    assert "must be a day" in world.fail(3, advisories=bad)
    bad["accept"] = [{"id": "CVE-1", "until": "2026-12-01"}]
    assert "why" in world.fail(3, advisories=bad)


def test_without_a_database_nothing_is_said(world, capsys):
    world.build()
    assert not (world.channel / "repack/advisories.json").exists()
    before = snapshot(world.channel)
    assert run(["report", "bank", "--advisories", "--channels-dir", str(world.channels)]) == 2
    assert "not judged" in capsys.readouterr().err
    assert snapshot(world.channel) == before


def test_a_hostile_summary_is_escaped(world):
    text = "<script>alert(1)</script>\u202e" + "x" * 10_000
    write_zip(world.source, {**PIP, "summary": text})
    world.build(advisories={"source": "osv.zip"})
    page = (world.channel / "index.html").read_text()
    assert "<script>alert(1)" not in page
    assert "\u202e" not in page
    assert "x" * 300 not in page


def test_a_second_build_does_not_read_the_database(world, monkeypatch):
    world.build(advisories={"source": "osv.zip"})
    monkeypatch.setattr(database, "parse_entry", None)
    world.serve(*tiny.PACKAGES)
    assert not world.build("--update")["changed"]
