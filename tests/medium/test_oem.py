"""What a medium brings to an OEM site: bundle, deltas, notarisation, checklist."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from repack.cli.main import run
from repack.fs import atomic
from tests import archives, channels
from tests.agent.bank import toml
from tests.carrying import content
from tests.licensing import killed_at
from tests.medium.test_medium import check, medium
from tests.world import World

SIGNING = {"hmac": "env:REPACK_HMAC_KEY", "key_id": "oem-updates", "keys": "keys/bank"}
KEY = "hex:" + "ab" * 32
DEVICE = "OEM-DEVICE-1234"
BUNDLE = "oem/bank/core-oem-2-linux-64.tar.gz"
DELTA = "oem/bank/core-oem-2-linux.delta.tar.gz"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two signed releases for one platform, the second notarised, and a copy of the first."""
    root, before = tmp_path_factory.mktemp("oem"), Path.cwd()
    os.chdir(root)
    os.environ["REPACK_HMAC_KEY"] = KEY
    try:
        world = World(root)
        world.build(signing=SIGNING, platforms={"linux-64": {}})
        shutil.copytree(world.channel, root / "device" / "bank")
        world.build("--update", packages=["tiny-data"])
        said("notarize", world.channel)
    finally:
        os.chdir(before)
        del os.environ["REPACK_HMAC_KEY"]
    return world


@pytest.fixture
def world(built, monkeypatch):
    monkeypatch.setenv("REPACK_HMAC_KEY", KEY)
    monkeypatch.chdir(built.root)
    return built


def said(*arguments, code=0):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        got = run([*map(str, arguments), "--json"])
    assert got == code, err.getvalue() + out.getvalue()
    return json.loads(out.getvalue())


def check_copy(stick, code=0):
    keys = ["--keys", "keys/bank", "--out", stick / "notary"]
    return said("notarize", stick / "bank", "--check", "--copy", *keys, code=code)


def test_everything_is_on_the_stick(world, tmp_path):
    stick = tmp_path / "stick ü"
    answer = medium(world, stick, "--oem", "--fingerprint", DEVICE)
    assert answer["release"] == 2
    assert answer["oem"]["fingerprint"] == DEVICE
    papers = ["notary/bank-2.intoto.json", "notary/bank-2.json", "oem/bank/oem_installation.md"]
    assert sorted(answer["oem"]["files"]) == sorted([BUNDLE, DELTA, *papers])
    assert all((stick / path).is_file() for path in answer["oem"]["files"])
    sheet = (stick / papers[2]).read_text(encoding="utf-8")
    assert "OEM installation: bank, release 2" in sheet
    assert DEVICE in sheet
    assert BUNDLE in sheet
    assert "<!--" not in sheet
    assert "@" not in sheet
    assert check(stick, "--key", KEY).returncode == 0, check(stick, "--key", KEY).stdout
    assert check_copy(stick) == {"status": "ok", "entries": 0, "release": "bank-2", "issues": []}
    assert not list(world.store.rglob(f"{atomic.TEMP_PREFIX}*")), "scratch was left behind"
    assert {path.name for path in stick.iterdir()} == {
        "index.html", "verify.py", "SHA256SUMS", "check-sha256.cmd", "sync.sh", "sync.cmd", "bank", "oem",
        "notary",
    }  # fmt: skip


def test_the_bundle_is_the_channel_and_always_the_same(world, tmp_path):
    for name in ("one", "two"):
        medium(world, tmp_path / name, "--oem")
    one = (tmp_path / "one" / BUNDLE).read_bytes()
    assert one == (tmp_path / "two" / BUNDLE).read_bytes()
    before = (tmp_path / "one" / BUNDLE).stat()
    medium(world, tmp_path / "one", "--oem")
    assert (tmp_path / "one" / BUNDLE).stat().st_ino == before.st_ino
    with tarfile.open(tmp_path / "one" / BUNDLE) as tar:
        assert tar.getnames()[-1] == "bank/repack/manifest.json"
        assert tar.getmember("bank/install.sh").mode == 0o755
        archives.unpack(tar, tmp_path / "out")
    assert content(tmp_path / "out" / "bank") == content(world.channel)
    said("verify", tmp_path / "out" / "bank", "--key", KEY, "--require-signature")


def unpacked(stick, bundle, out):
    with tarfile.open(stick / bundle) as tar:
        archives.unpack(tar, out)
    return out


def offered(channel, source, folder):
    """What the agent of a target on linux-64 says to ``source``."""
    settings = {
        "provision": {"label": "bank", "type": "ci", "platform": "linux-64"},
        "storage": {"root": str(folder / "opt")},
        "trust": {"root": str(channel / "repack/metadata/1.root.json")},
    }
    (folder / "target.toml").write_text(toml(settings), encoding="utf-8")
    return said("target", "check", "--src-dir", source, "--config", folder / "target.toml")


def test_the_agent_takes_a_bundle_that_was_unpacked(world, tmp_path):
    medium(world, tmp_path / "stick", "--oem")
    out = unpacked(tmp_path / "stick", BUNDLE, tmp_path / "out")
    assert offered(world.channel, out, tmp_path)


def test_a_bundle_holds_one_platform(tmp_path, monkeypatch):
    monkeypatch.setenv("REPACK_HMAC_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    world.build(signing=SIGNING)
    said("notarize", world.channel)
    answer = medium(world, tmp_path / "stick", "--oem", "--platform", "linux-64")
    bundles = [path for path in answer["oem"]["files"] if path.endswith(".tar.gz")]
    assert bundles == ["oem/bank/core-oem-1-linux-64.tar.gz"]
    out = unpacked(tmp_path / "stick", bundles[0], tmp_path / "out")
    packages = {path for path in content(out) if path.endswith((".conda", ".tar.bz2"))}
    wanted = {path for path in content(world.channels) if path.endswith((".conda", ".tar.bz2"))}
    assert packages == {path for path in wanted if "win-64" not in path} < wanted
    assert offered(world.channel, out, tmp_path)


def test_the_delta_fits_the_device(world, tmp_path):
    stick, device = tmp_path / "stick", tmp_path / "device" / "bank"
    shutil.copytree(world.root / "device" / "bank", device)
    medium(world, stick, "--oem", "--has", "1")
    applied = said("delta", "apply", device, stick / DELTA, "--key", KEY)
    assert (applied["from"], applied["release"]) == ("1", "2")
    assert content(device) == content(world.channel)
    assert medium(world, tmp_path / "m", "--oem", "--has", "7", code=2)["error"] == "usage"
    assert not (tmp_path / "m").exists()


def test_what_is_changed_on_the_stick_is_found(world, tmp_path):
    medium(world, tmp_path, "--oem")
    report = tmp_path / "notary/bank-2.json"
    report.write_bytes(report.read_bytes().replace(b"bank", b"tank", 1))
    assert check_copy(tmp_path, 6)["issues"] == ["the report is not what the envelope says"]
    channels.flip(tmp_path / BUNDLE)
    done = check(tmp_path)
    assert done.returncode == 6
    assert f"changed: {BUNDLE}" in done.stdout
    medium(world, tmp_path, "--oem")
    assert check(tmp_path).returncode == 0, check(tmp_path).stdout
    package = next((tmp_path / "bank" / "noarch").glob("tiny-data*"))
    channels.flip(package)
    assert check_copy(tmp_path, 6)["issues"] == [f"noarch/{package.name}: changed"]


def test_only_notarised_releases_go(world, tmp_path):
    stick = tmp_path / "m"
    assert "not notarised" in medium(world, stick, "--oem", "--release", "1", code=2)["what"]
    envelope = Path("var/dist/notary/bank-2.intoto.json")
    for name in (envelope.name, "bank-2.json"):
        (tmp_path / "other").mkdir(exist_ok=True)
        shutil.copy(envelope.with_name(name), tmp_path / "other" / name.replace("2", "1"))
    folder = ["--notary", str(tmp_path / "other")]
    medium(world, stick, "--oem", "--release", "1", *folder, code=6)
    assert not stick.exists()


def test_releases_share_the_folder_until_only_one_is_wanted(world, tmp_path):
    stick = tmp_path / "stick"
    medium(world, stick, "--oem")
    old = stick / "oem/bank/core-oem-1-linux-64.tar.gz"
    said(
        "notarize", world.root / "device/bank", "--keys", "keys/bank", "--out", tmp_path / "papers"
    )
    papers = ["--notary", str(tmp_path / "papers")]
    medium(world, stick, "--oem", "--release", "1", *papers)
    assert old.is_file()
    assert (stick / BUNDLE).is_file()
    assert check(stick).returncode == 0, check(stick).stdout
    medium(world, stick, "--oem", "--only")
    assert not old.exists()
    assert check(stick).returncode == 0, check(stick).stdout


def test_refusals_and_dry_run(world, tmp_path):
    stick = tmp_path / "m"
    assert "--oem" in medium(world, stick, "--has", "1", code=2)["what"]
    medium(world, stick, "--oem", "--platform", "win-64", code=2)
    medium(world, stick, "--oem", "--fingerprint", "", code=6)
    medium(world, stick, "--oem", "--keys", str(tmp_path / "none"), code=6)
    planned = medium(world, stick, "--oem", "--dry-run")["oem"]["files"]
    assert not stick.exists()
    assert sorted(planned) == sorted(medium(world, stick, "--oem")["oem"]["files"])


def test_killed_while_it_writes(world, tmp_path):
    """What stands under its name is whole, and the next call ends well."""
    medium(world, tmp_path / "whole", "--oem")
    whole = content(tmp_path / "whole")
    for number in range(6):
        stick = tmp_path / str(number)
        assert killed_at(60 + 97 * number, lambda stick=stick: medium(world, stick, "--oem"))
        for path in (BUNDLE, DELTA):
            assert not (stick / path).exists() or (stick / path).read_bytes() == whole[path]
        medium(world, stick, "--oem")
        assert check(stick).returncode == 0, check(stick).stdout
        assert check_copy(stick)["status"] == "ok"
        assert set(content(stick)) == set(whole)
