from __future__ import annotations

import json
from pathlib import Path

import pytest

from repack.keys.keyring import Keyring
from tests.cli.test_license import run
from tests.small_channel import channel_at
from tests.world import TOKEN, World

OUT = ("--out", "var/dist/notary/")


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    channel_at(tmp_path / "channels" / "halkbank")
    Keyring.open_or_create(Path("keys/halkbank"), {})
    return tmp_path


def test_notarise_and_check(site):
    done = run("notarize", "channels/halkbank", *OUT, "--json")
    assert (done["sequence"], done["changed"]) == (1, True)
    report = site / done["report"]
    assert b'"development keys"' in report.read_bytes()
    good = run("notarize", "channels/halkbank", "--check", *OUT, "--json")
    assert (good["status"], good["entries"], good["release"]) == ("ok", 1, "halkbank-1")
    assert run("notarize", "--check", *OUT, "--keys", "keys/halkbank") == (
        "1 notarisations, all in order"
    )
    assert "already" in run("notarize", "channels/halkbank", *OUT)
    report.write_bytes(report.read_bytes().replace(b"2026", b"2027"))
    bad = run("notarize", "channels/halkbank", "--check", *OUT, "--json", code=6)
    assert "halkbank-1.json" in bad["issues"][0]


def test_no_keys_are_made(site):
    run("notarize", "channels/halkbank", *OUT)
    (site / "keys").rename(site / "elsewhere")
    run("notarize", "channels/halkbank", *OUT, code=6)
    error = run("notarize", "channels/halkbank", "--check", *OUT, "--json", code=6)
    assert error["error"] == "key-refused"
    assert not (site / "keys").exists()


def test_a_public_key_in_pem_will_do(site):
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    run("notarize", "channels/halkbank", *OUT)
    private = load_pem_private_key(
        next((site / "keys/halkbank").glob("ci-*.pem")).read_bytes(), None
    )
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (site / "ci.pem").write_bytes(private.public_key().public_bytes(*form))
    run("notarize", "--check", *OUT, "--public-key", "ci.pem")


@pytest.mark.parametrize("words", [(), ("--check",), ("nowhere",), ("nowhere", "--check")])
def test_bad_calls(site, words):
    (site / "keys").rename(site / "elsewhere")
    assert run("notarize", *words, *OUT, "--json", code=2)["exit_code"] == 2
    assert not (site / "keys").exists()


def test_a_channel_as_the_line_builds_it(tmp_path, monkeypatch):
    """Nothing here is made for the test: what `repack label` published is notarised whole."""
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    world.build(signing={"keys": "keys/bank"})
    done = run("notarize", world.channel, *OUT, "--json")
    good = run("notarize", world.channel, "--check", *OUT, "--json")
    assert (good["status"], good["release"]) == ("ok", "bank-1")
    report = json.loads((tmp_path / done["report"]).read_bytes())
    assert report["channels"]
    names = {row["name"].rpartition("/")[2].rsplit("-", 2)[0] for row in report["inputs"]}
    assert {"lock.yml", "tiny-app", "python"} <= names
    assert TOKEN not in json.dumps(report)
