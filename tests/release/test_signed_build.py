"""Signing as a step of the line: no key, development keys, own keys, and what a rebuild does."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import subprocess
import sys

import pytest

from repack.cli.main import run
from repack.trust.client import refresh
from tests import channels
from tests.world import World, snapshot

SECRET = base64.b64encode(bytes(range(40))).decode()
SIGNING = {"hmac": "env:REPACK_HMAC_KEY", "key_id": "oem-updates"}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPACK_HMAC_KEY", SECRET)
    return World(tmp_path, {"platforms": {"linux-64": {}, "win-64": {}}})


def build(world, **changes):
    return world.build("--prove", "solved", **changes)


def verify(world, *arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = run(["verify", str(world.channel), "--json", *arguments])
    return code, json.loads(out.getvalue())


def run_verify_py(world, *arguments):
    command = [sys.executable, "-B", str(world.channel / "repack/verify.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_label_without_keys_is_unsigned_and_says_so(world):
    build(world)
    code, said = verify(world)
    assert (code, said["signed_by"], said["findings"]) == (0, "unsigned", [])
    assert verify(world, "--require-signature")[0] == 6
    assert "unsigned" in run_verify_py(world).stdout
    assert not (world.root / "keys").exists()
    assert not (world.channel / "repack/metadata").exists()


def test_a_label_that_names_no_keys_gets_development_keys(world):
    outcome = build(world, signing=SIGNING)
    assert "the release is signed with development keys" in outcome["warnings"]
    assert (world.root / "keys/bank/keys.json").is_file()
    code, said = verify(world, "--require-signature", "--key", f"oem-updates={SECRET}")
    assert (code, said["development_keys"], said["signature"]) == (0, True, "good")
    done = run_verify_py(world, "--key", "env:REPACK_HMAC_KEY", "--require-signature")
    assert done.returncode == 0, done.stdout
    manifest = json.loads((world.channel / "repack/manifest.json").read_bytes())
    assert manifest["signature"]["key_id"] == "oem-updates"
    assert manifest["integrity_manifest"]["path"] == "repack/integrity.json"


def test_an_empty_signing_gets_a_shared_key_too(world):
    build(world, signing={})
    code, said = verify(world, "--key", "file:keys/bank/hmac.key")
    assert (code, said["signature"]) == (0, "good")


def test_pythons_tuf_client_accepts_the_folder(world):
    build(world, signing=SIGNING)
    folder = world.channel / "repack/metadata"
    found = refresh(folder, world.root / "state", (folder / "1.root.json").read_bytes())
    assert [(one.number, one.label, one.platforms) for one in found.releases] == [
        (1, "bank", ("noarch", "linux-64", "win-64"))
    ]


def test_unchanged_means_untouched(world):
    build(world, signing=SIGNING)
    before = snapshot(world.channel)
    assert not build(world)["changed"]
    assert snapshot(world.channel) == before


def test_signing_what_was_unsigned_is_a_release_and_so_is_another_key(world, monkeypatch):
    build(world)
    assert build(world, signing=SIGNING)["release"] == 2
    monkeypatch.setenv("REPACK_HMAC_KEY", "hex:" + "ab" * 40)
    assert build(world)["release"] == 3
    assert verify(world, "--key", "env:REPACK_HMAC_KEY", "--require-signature")[0] == 0


def test_a_new_release_goes_on_from_the_old_metadata(world):
    build(world, signing=SIGNING)
    pinned = (world.channel / "repack/metadata/1.root.json").read_bytes()
    (world.root / "pinned.json").write_bytes(pinned)
    assert (
        run(
            [
                "promote",
                "bank",
                "--release",
                "1",
                "--tag",
                "a",
                "--channels-dir",
                str(world.channels),
            ]
        )
        == 0
    )
    assert build(world, packages=["tiny-data"])["release"] == 2
    code, said = verify(world, "--root", str(world.root / "pinned.json"))
    assert (code, said["metadata"], said["findings"]) == (0, "pinned", [])
    found = refresh(world.channel / "repack/metadata", world.root / "state", pinned)
    assert {(one.type, one.number) for one in found.releases} == {
        ("ci", 1),
        ("ci", 2),
        ("production", 1),
    }


def test_promoting_touches_no_release_and_the_next_build_neither(world):
    build(world, signing=SIGNING)
    assert (
        run(
            [
                "promote",
                "bank",
                "--release",
                "1",
                "--tag",
                "a",
                "--channels-dir",
                str(world.channels),
            ]
        )
        == 0
    )
    before = snapshot(world.channel)
    assert not build(world)["changed"]
    assert snapshot(world.channel) == before
    assert verify(world)[1]["tags"] == ["a"]


def test_going_back_to_an_old_release_does_not_go_back_in_metadata(world):
    build(world, signing=SIGNING)
    pinned = (world.channel / "repack/metadata/1.root.json").read_bytes()
    build(world, packages=["tiny-data"])
    refresh(world.channel / "repack/metadata", world.root / "state", pinned)
    assert world.repack("restore", "bank", "1") == 0
    code, said = verify(world)
    assert (code, said["release"], said["findings"]) == (0, "1", [])
    refresh(world.channel / "repack/metadata", world.root / "state", pinned)
    assert build(world)["release"] == 3
    refresh(world.channel / "repack/metadata", world.root / "state", pinned)
    assert verify(world)[0] == 0


@pytest.mark.parametrize("how", ["flipped", "missing", "all gone"])
def test_damaged_metadata_is_put_back(world, how):
    build(world, signing=SIGNING)
    folder = world.channel / "repack/metadata"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    if how == "flipped":
        channels.flip(folder / "timestamp.json")
    elif how == "missing":
        (folder / "ci.json").unlink()
    else:
        shutil.rmtree(folder)
    build(world)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert verify(world)[0] == 0


def test_own_keys_and_thresholds_and_expiry_of_the_label(world):
    for role in ("root", "root", "targets", "ci", "production", "snapshot", "timestamp"):
        assert run(["key", "new", "bank", "--role", role]) == 0
    build(world, signing={**SIGNING, "thresholds": {"root": 2}, "expiry": {"timestamp": 20}})
    code, said = verify(world)
    assert (code, said["development_keys"]) == (0, False)
    assert any("timestamp expires" in warning for warning in said["warnings"])
    root = json.loads((world.channel / "repack/metadata/1.root.json").read_bytes())
    assert root["signed"]["roles"]["root"]["threshold"] == 2
    warnings = build(world)["warnings"]
    assert any("timestamp expires" in warning for warning in warnings), warnings


def test_a_key_folder_that_is_named_and_not_there_gets_development_keys(world):
    build(world, signing={**SIGNING, "keys": "keys/halkbank"})
    assert (world.root / "keys/halkbank/keys.json").is_file()
    assert verify(world)[1]["development_keys"]


def test_a_key_folder_without_a_key_set_is_an_error(world):
    (world.root / "keys/halkbank").mkdir(parents=True)
    text = world.fail(6, signing={**SIGNING, "keys": "keys/halkbank"})
    assert "no key set" in text


def test_unset_and_empty_keys_publish_nothing(world, monkeypatch):
    monkeypatch.setenv("REPACK_HMAC_KEY", "")
    assert "empty" in world.fail(6, signing=SIGNING)
    monkeypatch.delenv("REPACK_HMAC_KEY")
    assert "REPACK_HMAC_KEY" in world.fail(3)


def test_encrypted_keys_need_their_passphrase(world, monkeypatch):
    monkeypatch.setenv("REPACK_KEY_PASSPHRASE", "correct horse")
    build(world, signing=SIGNING)
    assert b"ENCRYPTED" in next((world.root / "keys/bank").glob("root-*.pem")).read_bytes()
    monkeypatch.delenv("REPACK_KEY_PASSPHRASE")
    assert not build(world)["changed"], "an unchanged label needs no private key"
    assert "encrypted" in world.fail(6, packages=["tiny-data"])


def test_the_shared_key_does_not_get_into_the_channel(world):
    world.write(signing=SIGNING, description=f"key {SECRET}")
    build(world)
    for path in world.channel.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()


def test_commands_end_in_json(world, capsys):
    build(world, signing=SIGNING)
    place = ["--channels-dir", str(world.channels), "--json"]
    for command, code in [
        (["promote", "bank", "--release", "1", "--tag", "a", *place], 0),
        (["promote", "bank", "--release", "9", "--tag", "a", *place], 20),
        (["promote", "bank", "--release", "1", *place], 2),
        (["promote", "bank", "--sign", "a", "--finish", "b", *place], 2),
        (["promote", "nobody", "--release", "1", "--tag", "a", *place], 6),
        (["key", "rotate", "bank", "--role", "ci", *place], 0),
        (["key", "rotate", "bank", *place], 2),
        (["key", "show", "bank", "--json"], 0),
        (["key", "show", "--json"], 2),
        (["key", "new", "bank", "--role", "ci", "--uri", "env:X", "--json"], 2),
        (["verify", "nowhere", "--json"], 2),
    ]:
        capsys.readouterr()
        assert run(command) == code, command
        said = json.loads(capsys.readouterr().out)
        assert isinstance(said, dict)


def test_verify_for_people(world, capsys):
    build(world, signing=SIGNING)
    (world.channel / "Thumbs.db").write_bytes(b"")
    capsys.readouterr()
    assert run(["verify", str(world.channel), "--key", "hex:abcd"]) == 6
    said = capsys.readouterr()
    assert "the signature does not fit" in said.out
    assert "is NOT as it should be: 1 findings" in said.out
    assert "only 2 bytes" in said.err
    assert "ignored: Thumbs.db" in said.err
    assert (
        run(
            [
                "promote",
                "bank",
                "--release",
                "1",
                "--tag",
                "a",
                "--channels-dir",
                str(world.channels),
            ]
        )
        == 0
    )
    assert run(["verify", str(world.channel), "--key", "env:REPACK_HMAC_KEY"]) == 0
    said = capsys.readouterr()
    assert "bank release 1 is whole and unchanged" in said.out
    assert "shared key oem-updates and development keys, whose root is not pinned" in said.out
    assert "production tags: a" in said.out
    channels.flip(next((world.channel / "noarch").glob("*.conda")))
    assert run(["verify", str(world.channel)]) == 6
    assert "changed: noarch/" in capsys.readouterr().out


def test_a_ceremony_by_commands(world):
    build(world, signing=SIGNING)
    place = ["--channels-dir", str(world.channels)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run(["key", "new", "--keys", "safe", "--role", "production", "--json"]) == 0
    (world.root / "p.pem").write_text(json.loads(out.getvalue())["roles"][0]["keys"][0]["public"])
    rotate, promote = ["key", "rotate", "bank"], ["promote", "bank"]
    new = ["--role", "production", "--public", "p.pem"]
    assert run([*rotate, *new, "--prepare", "r.json", *place]) == 0
    assert run([*rotate, "--sign", "r.json", "--keys", "safe"]) == 0
    assert run([*rotate, "--finish", "r.json", *place]) == 0
    wave = ["--release", "1", "--tag", "a"]
    assert run([*promote, *wave, *place]) == 6
    assert run([*promote, *wave, "--prepare", "p.json", *place]) == 0
    assert run([*promote, "--finish", "p.json", *place]) == 6
    assert run([*promote, "--sign", "p.json", "--keys", "safe"]) == 0
    assert run([*promote, "--finish", "p.json", *place]) == 0
    code, said = verify(world)
    assert (code, said["tags"]) == (0, ["a"])
