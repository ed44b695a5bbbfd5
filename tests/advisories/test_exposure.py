"""``repack labels --advisory``: which customers, which releases."""

from __future__ import annotations

import dataclasses
import json

import pytest

from repack.cli.main import run
from tests import tiny
from tests.advisories.databases import CRITICAL, entry, write_zip
from tests.world import World

GRAVE = {"severity": [{"type": "CVSS_V3", "score": CRITICAL}], "aliases": ["CVE-2026-7"]}
PIP = entry("pip", "GHSA-7", {"introduced": "0"}, {"fixed": "24.1"}, **GRAVE)


@pytest.fixture
def world(tmp_path):
    """Release 1 with pip 24.0, release 2 with 24.2; a second label without a release."""
    made = World(tmp_path / "vendör x", {"platforms": {"linux-64": {}}})
    made.build()
    fixed = [
        dataclasses.replace(p, version="24.2") if p.name == "pip" else p for p in tiny.PACKAGES
    ]
    made.serve(*fixed)
    made.build("--update")
    return made


def ask(world, capsys, *words, code=0):
    folders = ["--labels-dir", str(world.labels), "--channels-dir", str(world.channels)]
    assert run(["labels", "--json", *folders, "--store", str(world.store), *words]) == code
    out = capsys.readouterr()
    return json.loads(out.out) if code == 0 else out.err


def test_which_releases_by_todays_database(world, capsys, tmp_path):
    """They were built before anybody knew of it."""
    database = write_zip(tmp_path / "osv.zip", PIP)
    rows = ask(world, capsys, "--advisory", "cve-2026-7", "--database", str(database))
    assert [(r["label"], r["release"], r["published"], r["state"]) for r in rows] == [
        ("bank", 2, True, "not affected"),
        ("bank", 1, False, "affected"),
    ]
    assert rows[1]["findings"][0]["fixed"] == "24.1"
    error = ask(world, capsys, "--advisory", "CVE-1-1", "--database", str(database), code=2)
    assert "has no advisory" in error


def test_by_each_labels_own(world, capsys):
    rows = ask(world, capsys, "--advisory", "CVE-2026-7")
    assert {row["state"] for row in rows} == {"unknown"}
    write_zip(world.labels / "osv.zip", PIP)
    accepted = [{"id": "GHSA-7", "until": "2999-01-01", "why": "no server"}]
    world.write(advisories={"source": "osv.zip"})
    assert [r["state"] for r in ask(world, capsys, "--advisory", "GHSA-7")] == [
        "not affected", "affected",
    ]  # fmt: skip
    world.write(advisories={"source": "osv.zip", "accept": accepted})
    assert ask(world, capsys, "--advisory", "GHSA-7")[1]["state"] == "accepted"


def test_by_what_a_release_carries(world, capsys):
    write_zip(world.labels / "osv.zip", PIP)
    world.build(advisories={"source": "osv.zip"})
    del world.label["advisories"]
    world.write()
    (world.labels / "osv.zip").unlink()
    newest = ask(world, capsys, "--advisory", "GHSA-7")[0]
    assert (newest["release"], newest["state"]) == (3, "not affected")
    assert newest["by"]


def test_one_broken_label_hides_no_other(world, capsys, tmp_path):
    (world.labels / "broken.yaml").write_text("label: broken\nchannels: 7\n")
    database = write_zip(tmp_path / "osv.zip", PIP)
    rows = ask(world, capsys, "--advisory", "GHSA-7", "--database", str(database))
    assert [row["label"] for row in rows] == ["bank", "bank", "broken"]
    assert "broken.yaml" in rows[2]["problem"]


def test_people_read_lines(world, capsys, tmp_path):
    database = write_zip(tmp_path / "osv.zip", PIP)
    folders = ["--labels-dir", str(world.labels), "--channels-dir", str(world.channels)]
    words = ["--advisory", "GHSA-7", "--database", str(database), "--store", str(world.store)]
    assert run(["labels", *folders, *words]) == 0
    out = capsys.readouterr().out
    assert "bank release 2, published: not affected" in out
    assert "bank release 1: affected: CVE-2026-7 (critical): pip 24.0, fixed in 24.1" in out
