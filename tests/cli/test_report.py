"""``repack report``, ``repack labels``, and what builds say at their end."""

from __future__ import annotations

import csv
import io
import json

import pytest

from repack.cli.main import run
from tests import tiny
from tests.reports import crowd
from tests.world import TOKEN, World


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def build(world, *arguments, **changes):
    return world.build("--prove", "solved", *arguments, **changes)


def report(world, capfdbinary, *arguments):
    assert run(["report", "bank", "--channels-dir", str(world.channels), *arguments]) == 0
    return capfdbinary.readouterr().out


def labels(world, capsys, *arguments):
    capsys.readouterr()
    place = ["--labels-dir", str(world.labels), "--channels-dir", str(world.channels)]
    assert run(["labels", *place, *arguments]) == 0
    return capsys.readouterr().out


def test_report_in_every_form(world, capfdbinary):
    build(world)
    build(world, packages=["tiny-lib"])
    where = report(world, capfdbinary).decode().strip()
    assert where == str(world.channel / "index.html")
    past = report(world, capfdbinary, "--release", "1").decode().strip()
    assert past.endswith("1/index.html")
    told = json.loads(report(world, capfdbinary, "--json"))
    assert told["release"] == 2
    assert json.loads(report(world, capfdbinary, "--format", "spdx"))["name"] == "bank-2"
    carried = (world.channel / "repack/sbom.cdx.json").read_bytes()
    assert report(world, capfdbinary, "--format", "cyclonedx") == carried
    rows = list(csv.DictReader(io.StringIO(report(world, capfdbinary, "--format", "csv").decode())))
    assert {row["name"] for row in rows} == {one["name"] for one in told["packages"]}
    out = world.root / "out.csv"
    assert report(world, capfdbinary, "--format", "csv", "--output", str(out)) == b""
    assert out.read_bytes().startswith(b"name,version")


def test_report_of_a_release_that_is_not_there(world, capsys):
    assert run(["report", "bank", "--channels-dir", str(world.channels)]) == 2
    build(world)
    assert run(["report", "bank", "--release", "7", "--channels-dir", str(world.channels)]) == 2
    assert "kept: 1" in capsys.readouterr().err
    (world.channel / "repack/report.json").write_bytes(b"{}")
    command = ["report", "bank", "--format", "csv", "--channels-dir", str(world.channels)]
    assert run(command) == 6


def test_labels_show_all_there_is(world, capsys, monkeypatch):
    assert "no labels here" in labels(world, capsys)
    build(world, signing={})
    (world.labels / "new.yaml").write_text("label: new\n")
    rows = {row["label"]: row for row in json.loads(labels(world, capsys, "--json"))}
    bank = rows["bank"]
    assert (bank["release"], bank["signed_for"], bank["development_keys"]) == (1, ["ci"], True)
    assert bank["expires_in_days"] > 300
    assert (bank["age_days"], bank["lock_age_days"], bank["last_failure"]) == (0, 0, None)
    assert rows["new"]["release"] is None
    text = labels(world, capsys)
    assert "development keys" in text
    assert max(map(len, text.splitlines())) <= 80
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "4000000000")
    later = labels(world, capsys)
    assert "has expired" in later
    assert "repack diff bank --update" in later


def test_a_release_is_shown_as_promoted(world, capsys):
    build(world, signing={})
    place = ["--channels-dir", str(world.channels)]
    assert run(["promote", "bank", "--release", "1", "--tag", "wave-1", *place]) == 0
    row = json.loads(labels(world, capsys, "--json"))[0]
    assert row["signed_for"] == ["ci", "production: wave-1"]


def test_the_age_of_a_lock_survives_releases_that_keep_it(world, capsys, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795000000")
    build(world)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(1795000000 + 50 * 86400))
    build(world, licences={"deny": ["BUSL-1.1"]})
    row = json.loads(labels(world, capsys, "--json"))[0]
    assert (row["release"], row["age_days"], row["lock_age_days"]) == (2, 0, 50)


def test_a_failed_build_is_remembered_until_one_works(world, capsys, monkeypatch):
    build(world)
    monkeypatch.setenv("BANK_TOKEN", TOKEN)
    world.fail(5, "--update", channels=[f"http://127.0.0.1:9/t/{TOKEN}/x"])
    row = json.loads(labels(world, capsys, "--json"))[0]
    assert row["last_failure"]["error"] == "fetch-failed"
    assert TOKEN not in json.dumps(row)
    assert "the last build failed" in labels(world, capsys)
    build(world, channels=[world.upstream.as_uri()])
    assert json.loads(labels(world, capsys, "--json"))[0]["last_failure"] is None


def test_wrong_command_lines_are_no_failed_builds(world, capsys):
    build(world)
    assert world.repack("label", "bnak") == 2
    assert [row["label"] for row in json.loads(labels(world, capsys, "--json"))] == ["bank"]


def test_a_damaged_label_does_not_hide_the_others(world, capsys):
    build(world)
    broken = world.channels / "broken/repack"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_bytes(b"{")
    rows = {row["label"]: row for row in json.loads(labels(world, capsys, "--json"))}
    assert rows["broken"]["problem"]
    assert rows["bank"]["problem"] is None


def test_the_channels_folder_has_an_overview(world, capsys):
    build(world)
    page = (world.channels / "index.html").read_text()
    assert 'href="bank/index.html"' in page
    assert "script-src" in page
    assert "<script" not in page
    before = (world.channels / "index.html").stat().st_mtime_ns
    labels(world, capsys)
    assert (world.channels / "index.html").stat().st_mtime_ns == before
    world.fail(7, licences={"deny": ["MIT"]})
    labels(world, capsys)
    assert "proof-failed" in (world.channels / "index.html").read_text()


def test_diff_reads_like_a_changelog(world, capsys):
    build(world)
    newer = tiny.Package("tiny-lib", "1!2.1", ("__glibc >=2.17",), files={"lib/t.txt": "x\n"})
    world.serve(*tiny.PACKAGES, newer)
    world.write(packages=["tiny-lib"], platforms={"linux-64": {}})
    capsys.readouterr()
    assert world.repack("diff", "bank", "--update") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bank: would become release 2")
    assert any(line.startswith("  ^ updated    tiny-lib") for line in lines)
    assert "1!2.0+x -> 1!2.1" in "".join(lines)
    assert any(line.startswith("  - removed") and "tiny-app" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_long_list_of_changes_is_cut_after_a_build_and_not_in_a_diff(world, capsys):
    build(world, platforms={"linux-64": {}})
    world.serve(*tiny.PACKAGES, *crowd(40))
    world.write(packages=["tiny-app", "part-000"])
    capsys.readouterr()
    assert world.repack("diff", "bank") == 0
    assert sum(line.startswith("  + ") for line in capsys.readouterr().out.splitlines()) == 40
    assert world.repack("label", "bank", "--prove", "solved") == 0
    out = capsys.readouterr().out
    assert "and 20 more; see index.html" in out
    assert "since release 1: 40 added" in out
    assert f"channel   {world.channel}" in out
