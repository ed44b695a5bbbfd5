"""Media: one stick, several releases and labels, with and without links."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys

import pytest

from repack.channel import releases
from repack.cli.main import run
from repack.verify.verdict import Requirements
from repack.verify.verify import verify
from tests import channels
from tests.carrying import content, read_as_client, volume_of
from tests.licensing import killed_at
from tests.world import World

SIGNING = {"hmac": "env:REPACK_HMAC_KEY", "key_id": "oem-updates"}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A vendor with two kept releases of a signed label."""
    monkeypatch.setenv("REPACK_HMAC_KEY", "hex:" + "ab" * 32)
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    world.build(signing=SIGNING)
    return world


def second_release(world):
    """Publish release 2, which drops a package and brings another."""
    world.build("--update", packages=["tiny-data"])


def medium(world, dest, *arguments, code=0, name=None):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        got = run(
            [
                "medium", name or world.name, str(dest), "--json", *arguments,
                "--labels-dir", str(world.labels), "--channels-dir", str(world.channels),
                "--store", str(world.store),
            ]
        )  # fmt: skip
    assert got == code, err.getvalue()
    return json.loads(out.getvalue())


def check(dest, *arguments):
    """What the medium's own verifier says."""
    return subprocess.run(
        [sys.executable, dest / "verify.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def sound(channel):
    return verify(channel, Requirements(), channels.now())


def test_a_medium_is_whole(world, tmp_path):
    stick = tmp_path / "stick ü"
    said = medium(world, stick)
    assert (said["release"], said["releases"], said["type"]) == (1, [1], "ci")
    assert content(stick / "bank") == content(world.channel)
    assert {path.name for path in stick.iterdir()} == {
        "index.html", "verify.py", "SHA256SUMS", "check-sha256.cmd", "sync.sh", "sync.cmd", "bank",
    }  # fmt: skip
    assert check(stick, "--key", "hex:" + "ab" * 32).returncode == 0, check(
        stick, "--key", "hex:" + "ab" * 32
    ).stdout
    manifest = (stick / "bank/repack/manifest.json").read_bytes()
    checklist = (stick / "index.html").read_text()
    assert hashlib.sha256(manifest).hexdigest() in checklist
    assert hashlib.sha256((stick / "verify.py").read_bytes()).hexdigest() in checklist
    assert not re.search("@[A-Z]+@", checklist)
    done = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=stick, check=False)
    assert done.returncode == 0
    assert run(["verify", str(stick), "--key", "hex:" + "ab" * 32]) == 0
    for command in ('sh "bank/install.sh"', '"bank\\install.cmd"', 'sh sync.sh "bank"'):
        assert command in checklist
    assert 'href="bank/index.html"' in checklist
    assert medium(world, stick)["copied"] == []


def delta(world, stick, *arguments):
    """Make a delta from release 1 to 2 and apply it to the channel on a medium."""
    file = stick.parent / "delta"
    places = ["--channels-dir", str(world.channels), "--store", str(world.store)]
    places += ["--labels-dir", str(world.labels), "-o", str(file)]
    assert run(["delta", "create", world.name, "--from", "1", "--to", "2", *places]) == 0
    return run(["delta", "apply", str(stick / world.name), str(file), *arguments])


def test_a_delta_brings_the_checklist_up_to_date(world, tmp_path):
    stick = tmp_path / "stick ü"
    medium(world, stick)
    before = (stick / "index.html").read_text()
    second_release(world)
    assert delta(world, stick) == 0
    text = (stick / "index.html").read_text()
    manifest = (stick / "bank/repack/manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() in text
    assert ">bank 1</a>" in before
    assert ">bank 2</a>" in text
    assert ">bank 1</a>" not in text
    assert check(stick, "--key", "hex:" + "ab" * 32).returncode == 0, check(
        stick, "--key", "hex:" + "ab" * 32
    ).stdout
    # cut off before that line, the next call writes it
    (stick / "index.html").write_text(before)
    assert delta(world, stick) == 0
    assert ">bank 2</a>" in (stick / "index.html").read_text()


def test_a_delta_leaves_somebody_elses_checklist_alone(world, tmp_path):
    shutil.copytree(world.channel, tmp_path / "srv" / world.name)
    (tmp_path / "srv/index.html").write_text("<h1>Things to buy</h1>\n")
    second_release(world)
    assert delta(world, tmp_path / "srv") == 0
    assert (tmp_path / "srv/index.html").read_text() == "<h1>Things to buy</h1>\n"


def test_the_verifier_finds_what_is_wrong(world, tmp_path):
    medium(world, tmp_path / "m")
    assert check(tmp_path / "m", "--key", "hex:" + "cd" * 32).returncode == 6
    channels.flip(tmp_path / "m/bank/noarch/repodata.json")
    done = check(tmp_path / "m")
    assert done.returncode == 6
    assert "noarch/repodata.json" in done.stdout
    shutil.rmtree(tmp_path / "m/bank")
    assert check(tmp_path / "m").returncode == 2


def test_two_releases_share_a_stick(world, tmp_path):
    stick = tmp_path / "m"
    medium(world, stick)
    second_release(world)
    said = medium(world, stick)
    assert (said["release"], said["releases"]) == (2, [1, 2])
    assert sound(stick / "bank").exit_code == 0, sound(stick / "bank").findings
    assert check(stick).returncode == 0, check(stick).stdout
    held = releases.stored_releases(stick / "bank")
    assert [(one.manifest.release, one.whole) for one in held] == [(2, True), (1, True)]
    old = "noarch/bank-manifest-1-"
    assert any(path.startswith(old) for path in content(stick / "bank"))
    for path, data in held[1].texts.items():
        own = stick / "bank/repack/releases/1" / path
        assert (own if own.exists() else stick / "bank" / path).read_bytes() == data

    said = medium(world, stick, "--release", "1")
    assert (said["release"], said["releases"]) == (1, [1, 2])
    assert check(stick).returncode == 0, check(stick).stdout
    assert (stick / "bank/repack/manifest.json").read_bytes() == held[1].data

    said = medium(world, stick, "--only")
    assert (said["release"], said["releases"]) == (2, [2])
    assert content(stick / "bank") == content(world.channel)


def test_damage_of_a_release_beside_is_found(world, tmp_path):
    stick = tmp_path / "m"
    medium(world, stick)
    second_release(world)
    medium(world, stick)
    own = stick / "bank/repack/releases/1/noarch/repodata.json"
    channels.flip(own)
    assert sound(stick / "bank").exit_code == 6
    done = check(stick)
    assert done.returncode == 6
    assert "releases/1/noarch/repodata.json" in done.stdout
    assert medium(world, stick)["releases"] == [2]


def two_labels(world):
    """A second label with the same packages."""
    world.name = "other"
    world.build(label="other", signing=SIGNING)


def test_two_labels_share_packages_by_links(world, tmp_path):
    stick = tmp_path / "m"
    medium(world, stick, name="bank")
    two_labels(world)
    medium(world, stick, name="other")
    one, two = (stick / name / "noarch/tiny-app-2.0-py_0.conda" for name in ("bank", "other"))
    assert one.samefile(two)
    assert check(stick).returncode == 0, check(stick).stdout
    assert sound(stick / "other").exit_code == 0


def test_two_labels_share_packages_without_links(world, tmp_path):
    """On FAT a package lies in one channel; whoever drops it hands it on."""
    with volume_of("exfat", tmp_path) as stick:
        medium(world, stick, name="bank")
        second_release(world)
        world.label = {**world.label, "packages": ["tiny-app"]}
        two_labels(world)
        said = medium(world, stick, name="other")
        app = "noarch/tiny-app-2.0-py_0.conda"
        assert app not in said["copied"]
        assert not (stick / "other" / app).exists()
        assert check(stick).returncode == 0, check(stick).stdout
        medium(world, stick, "--only", name="bank")
        assert (stick / "other" / app).exists()
        assert not (stick / "bank" / app).exists()
        assert check(stick).returncode == 0, check(stick).stdout
        read_as_client(stick / "bank")


def test_installers_travel(world, tmp_path):
    tool = tmp_path / "micro mamba"
    tool.write_bytes(b"#!/bin/sh\n")
    digest = hashlib.sha256(tool.read_bytes()).hexdigest()
    world.write(installers=[{"url": tool.as_uri(), "sha256": digest}])
    stick = tmp_path / "m"
    assert medium(world, stick)["installers"] == ["micro mamba"]
    assert (stick / "installers/micro mamba").read_bytes() == tool.read_bytes()
    assert digest in (stick / "index.html").read_text()
    tool.unlink()
    medium(world, stick)
    channels.flip(stick / "installers/micro mamba")
    assert check(stick).returncode == 6
    medium(world, stick)
    assert check(stick).returncode == 0, check(stick).stdout
    tool.write_bytes(b"something else")
    world.write(installers=[{"url": tool.as_uri(), "sha256": "0" * 64}])
    medium(world, tmp_path / "new", code=6)
    assert not (tmp_path / "new").exists()


def test_production_needs_a_signature_for_it(world, tmp_path):
    stick = tmp_path / "m"
    assert medium(world, stick, "--prod", code=15)["error"] == "wrong-type"
    place = ["--channels-dir", str(world.channels)]
    assert run(["promote", "bank", "--release", "1", "--tag", "wave1", *place]) == 0
    second_release(world)
    assert medium(world, stick, "--prod", "--tag", "wave2", code=15)["error"] == "wrong-tag"
    assert medium(world, stick, "--prod", "--release", "2", code=15)["error"] == "wrong-type"
    assert not stick.exists()
    said = medium(world, stick, "--prod", "--tag", "wave1")
    assert (said["release"], said["type"], said["tag"]) == (1, "production", "wave1")
    assert "production, tags wave1" in (stick / "index.html").read_text()
    assert sound(stick / "bank").tags == ("wave1",)
    assert medium(world, tmp_path / "ci", "--tag", "any")["release"] == 2


def test_refusals(world, tmp_path):
    medium(world, tmp_path / "m", "--release", "9", code=2)
    medium(world, tmp_path / "m", code=2, name="nobody")
    medium(world, world.channels, code=2)
    unsigned = World(tmp_path / "unsigned")
    unsigned.build()
    assert medium(unsigned, tmp_path / "m", "--prod", code=15)["error"] == "wrong-type"
    assert not (tmp_path / "m").exists()


def test_dry_run_writes_nothing(world, tmp_path):
    assert medium(world, tmp_path / "m", "--dry-run")["dry_run"]
    assert not (tmp_path / "m").exists()


def test_killed_at_many_touches_of_the_disk(world, tmp_path):
    """Readers of the medium see the old release or the new one; the next call ends well."""
    stick = tmp_path / "m"
    medium(world, stick)
    second_release(world)
    wanted = None
    for instant in range(40, 4000, 97):
        medium(world, stick, "--release", "1", "--only")
        killed = killed_at(instant, lambda: medium(world, stick))
        assert read_as_client(stick / "bank")
        medium(world, stick)
        assert check(stick).returncode == 0, check(stick).stdout
        wanted = wanted or content(stick / "bank")
        assert content(stick / "bank") == wanted
        if not killed:
            return
    pytest.fail("never ended")
