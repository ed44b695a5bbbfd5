"""The report as a step of the line, from label files to what lies in the channel."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repack.cli.main import run
from repack.report.render import page as render_page
from tests import tiny
from tests.reports import SCRIPT, bundle, crowd, hostile, package, report
from tests.world import TOKEN, World, records, serving, snapshot

ROOT = Path(__file__).parents[2]
MOMENT = "1795000000"


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def build(world, *arguments, **changes):
    return world.build("--prove", "solved", *arguments, **changes)


def read(world, path="repack/report.json"):
    return json.loads((world.channel / path).read_bytes())


def page(world):
    return (world.channel / "index.html").read_text(encoding="utf-8")


def test_page_data_and_sbom_are_among_the_signed_files(world):
    build(world, signing={}, bundles=bundle(world.root / "models"))
    listed = {row["path"] for row in read(world, "repack/integrity.json")["files"]}
    assert {"index.html", "repack/report.json", "repack/sbom.cdx.json"} <= listed
    assert run(["verify", str(world.channel), "--require-signature"]) == 0
    told = read(world)
    assert told["signature"]["trust"] == "development"
    assert [file["path"] for file in told["bundles"][0]["files"]] == [
        "notes & more.txt",
        "weights.bin",
    ]
    assert "notes &amp; more.txt" in page(world)
    assert "Signed with development keys" in page(world)


def test_an_unsigned_release_says_so(world):
    build(world)
    assert "<strong>Not signed.</strong>" in page(world)


def test_hostile_metadata_shows_as_text(world):
    world.serve(*hostile())
    build(world)
    text = page(world)
    assert text.count("<script>") == 1
    assert "&lt;script&gt;" in text
    assert "<img" not in text
    assert "\u202e" not in text
    assert "{{ 7 * 7 }}" in text
    assert "x" * 300 not in text
    assert 'href="javascript:' not in text
    assert SCRIPT in {one["licence"][: len(SCRIPT)] for one in read(world)["packages"]}


def test_a_missing_licence_is_told():
    nameless = package("a", licence="", licence_is_spdx=False, licence_verdict="unknown")
    assert "none given" in render_page(report(nameless)).decode()


def test_chains_of_dependencies_are_real_ones(world):
    build(world)
    known = {
        record["name"]: record
        for subdir in ("noarch", "linux-64")
        for record in records(world.channel, subdir).values()
    }
    told = {one["name"]: one["why"]["linux-64"] for one in read(world)["packages"]
            if "linux-64" in one["why"]}  # fmt: skip
    assert told["tiny-lib"] == ["tiny-app", "tiny-lib"]
    assert told["pip"] == ["tiny-app", "python", "pip"]
    for name, way in told.items():
        assert way[-1] == name
        for one, other in itertools.pairwise(way):
            needs = {spec.split()[0] for spec in known[one]["depends"]}
            assert other in needs or (one, other) == ("python", "pip")


def test_hot_fixes_scripts_and_sources_are_told(world):
    script = {"bin/.tiny-data-post-link.sh": "echo\n"}
    data = tiny.PACKAGES[3]
    scripted = tiny.Package(data.name, data.version, (), "noarch", "generic", "0", script)
    world.serve(*tiny.PACKAGES[:3], scripted, tiny.PACKAGES[4])
    build(world)
    told = {one["name"]: one for one in read(world)["packages"]}
    assert told["tiny-app"]["hotfixed"] == ["depends"]
    assert told["tiny-lib"]["hotfixed"] == []
    assert told["tiny-data"]["scripts"] == ["post-link: bin/.tiny-data-post-link.sh"]
    assert told["tiny-lib"]["source"] == world.upstream.as_uri()
    assert told["bank-manifest"]["source"] == ""


def test_changes_and_the_chart_go_back_to_the_first_release(world):
    build(world, keep_releases=1)
    newer = tiny.Package("tiny-lib", "1!2.1", ("__glibc >=2.17",), files={"lib/t.txt": "x\n"})
    world.serve(*tiny.PACKAGES, newer)
    build(world, "--update", keep_releases=1)
    told = read(world)
    assert told["since"] == 1
    assert [(c["name"], c["step"], c["before"], c["after"]) for c in told["changes"]] == [
        ("tiny-lib", "updated", "1!2.0+x", "1!2.1")
    ]
    build(world, packages=["tiny-lib"], keep_releases=1)
    told = read(world)
    assert {c["step"] for c in told["changes"]} == {"removed"}
    assert [row["release"] for row in told["releases"]] == [1, 2, 3]
    new = {one["path"]: one["size"] for one in told["packages"] if one["kind"] == "release"}
    assert told["new_bytes"] == sum(new.values())


def test_the_same_moment_gives_the_same_bytes(world, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", MOMENT)
    build(world, bundles=bundle(world.root / "models"))
    first = snapshot(world.channel)
    world.channels.rename(world.root / "elsewhere")
    build(world)
    again = snapshot(world.channel)
    assert {path: row[2] for path, row in again.items()} == {p: r[2] for p, r in first.items()}


def test_three_hundred_packages_stay_below_half_a_megabyte(world):
    world.serve(*tiny.PACKAGES, *crowd(300))
    build(world, packages=["part-000"], platforms={"linux-64": {}})
    assert len(read(world)["packages"]) >= 300
    assert len(page(world).encode()) <= 500_000


UNCHANGED = """
import sys
from repack.cli.main import run
assert run(sys.argv[1:]) == 0
slow = {"jinja2", "license_expression", "squarify", "cyclonedx", "tuf", "cryptography"}
sys.exit(f"imported {slow & sys.modules.keys()}" if slow & sys.modules.keys() else 0)
"""


def test_an_unchanged_build_pays_for_no_report(world):
    build(world, licences={"deny": ["AGPL-*"]})
    folders = ["--labels-dir", str(world.labels), "--channels-dir", str(world.channels)]
    for command in (
        ["label", "bank", "--prove", "solved", *folders, "--store", str(world.store)],
        ["--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", UNCHANGED, *command],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def licensed(world, licence):
    """Serve the tiny channel with tiny-lib under ``licence``."""
    python, pip, lib, data, app = tiny.PACKAGES
    changed = tiny.Package(
        lib.name, lib.version, lib.depends, files=lib.files, hotfix={"license": licence}
    )
    world.serve(python, pip, changed, data, app)


def test_a_denied_licence_fails_the_build_and_names_what_pulls_it_in(world):
    licensed(world, "MIT AND GPL-3.0-only")
    policy = {"deny": ["GPL-3.0"]}
    message = world.fail(7, licences=policy, platforms={"linux-64": {}})
    assert "linux-64/tiny-lib-1!2.0+x-0.conda: MIT AND GPL-3.0-only" in message
    assert "tiny-app -> tiny-lib" in message
    licensed(world, "MIT OR GPL-3.0-only")
    assert build(world, "--update", licences=policy)["release"] == 1
    assert "denied: GPL-3.0" in page(world)


@pytest.mark.parametrize("closed", [{"licences": {"unknown": "deny"}}, {"strict": True}])
def test_unknown_licences_warn_or_fail(world, closed):
    licensed(world, "Custom")
    warnings = build(world, platforms={"linux-64": {}})["warnings"]
    assert any("1 packages have no licence" in warning for warning in warnings)
    assert "Custom" in world.fail(7, "--prove", "solved", **closed)


def test_a_policy_is_judged_although_no_package_changed(world):
    build(world)
    message = world.fail(7, licences={"deny": ["MIT"]})
    assert "denies" in message
    assert build(world, licences={"deny": ["BUSL-1.1"]})["release"] == 2
    assert not build(world)["changed"]


def test_typing_mistakes_in_a_policy_warn(world):
    warnings = build(world, licences={"deny": ["GPL3"]})["warnings"]
    assert "licences.deny: 'GPL3' is no SPDX identifier" in warnings


def test_no_secret_gets_into_the_report(world, monkeypatch):
    monkeypatch.setenv("BANK_TOKEN", TOKEN)
    with serving(world.root) as (url, _asked):
        base = url + "/t/${BANK_TOKEN}/" + world.upstream.as_uri().rsplit("/", 1)[1]
        build(world, channels=[base], description=f"with {TOKEN}")
    assert TOKEN not in page(world)
    assert "with ***" in page(world)
    assert "/t/" not in read(world)["packages"][0]["source"]


def test_a_release_made_without_a_report_can_be_followed(world):
    build(world)
    for folder in (world.channel, world.channels / ".history/bank/1"):
        (folder / "repack/report.json").unlink()
    build(world, packages=["tiny-lib"])
    assert [row["release"] for row in read(world)["releases"]][-1] == 2
