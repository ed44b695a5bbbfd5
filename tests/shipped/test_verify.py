"""The shipped verifier: one file, any Python from 3.6 on, no more than it needs."""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.errors import RepackError
from repack.keys.shared_key import SharedKey, parse_key
from repack.trust.sign import Signing
from tests import channels

SECRET = bytes(range(32))
KEY = SharedKey("oem-updates", SECRET)
TEXT = "oem-updates=hex:" + SECRET.hex()


def pythons():
    """Every Python that can be started here, oldest and newest if there are many."""
    found = {sys.executable}
    for minor in range(6, 15):
        name = f"python3.{minor}"
        kept = Path.home() / ".pyenv/versions"
        places = [*kept.glob(f"3.{minor}.*/bin/python"), shutil.which(name)]
        for place in filter(None, places):
            done = subprocess.run([place, "-c", "1"], capture_output=True, check=False)
            if done.returncode == 0:
                found.add(str(place))
                break
    return sorted(found)


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    return channels.keyring(tmp_path_factory.mktemp("keys") / "halkbank")


@pytest.fixture
def channel(tmp_path, ring):
    return channels.build(tmp_path / "stick ü" / "halkbank", Signing(KEY, ring))


def run(channel, *arguments, python=sys.executable, environment=None, cwd=None):
    script = channel / "repack/verify.py"
    return subprocess.run(
        [python, "-B", script if script.exists() else channels.VERIFY, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd or channel.parent,
        env={**os.environ, "PYTHONIOENCODING": "ascii", **(environment or {})},
    )


def test_it_is_short_and_needs_nothing():
    text = channels.VERIFY.read_text(encoding="ascii")
    assert len(text.splitlines()) <= 850, "it checks channels, media and public keys"
    tree = ast.parse(text, feature_version=(3, 6))
    imports = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
    assert {name.split(".")[0] for name in imports} <= sys.stdlib_module_names


@pytest.mark.parametrize("python", pythons())
def test_good_and_bad_under_every_python(channel, python):
    done = run(channel, "--key", TEXT, "--json", python=python)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["status"] == "ok"
    assert said["files"] == 28
    assert said["signature"] == "good, key id oem-updates"
    channels.flip(channel / "win-64/a-1-0.conda")
    (channel / "noarch/b-1-0.tar.bz2").unlink()
    (channel / "ü.txt").write_bytes(b"")
    done = run(channel, "--key", TEXT, python=python)
    assert done.returncode == 6
    for word in ("changed: win-64/a-1-0", "missing: noarch/b-1-0", "extra: \\xfc.txt"):
        assert word in done.stdout
    assert not done.stderr


def test_it_runs_from_any_folder_and_checks_its_own_channel(channel, tmp_path):
    assert run(channel, cwd=tmp_path).returncode == 0
    assert run(channel, str(channel), cwd=tmp_path).returncode == 0


def test_it_writes_nothing(channel):
    before = {path: path.stat().st_mtime_ns for path in channel.rglob("*")}
    assert run(channel).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in channel.rglob("*")} == before


def test_every_flipped_byte_is_found(channel):
    for path in sorted(p for p in channel.rglob("*") if p.is_file() and p.name != "verify.py"):
        before = path.read_bytes()
        channels.flip(path)
        assert run(channel, "--key", TEXT).returncode == 6, path
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("key", "environment"),
    [
        (base64.b64encode(SECRET).decode(), {}),
        ("base64:" + base64.b64encode(SECRET).decode(), {}),
        ("env:K", {"K": "hex:" + SECRET.hex()}),
        ("me=env:K", {"K": base64.b64encode(SECRET).decode()}),
        ("file:raw.key", {}),
        ("file:text.key", {}),
    ],
)
def test_keys_come_in_every_form(channel, tmp_path, key, environment):
    (tmp_path / "raw.key").write_bytes(SECRET)
    (tmp_path / "text.key").write_bytes(base64.b64encode(SECRET) + b"\r\n")
    done = run(channel, "--key", key, environment=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("key", ["", "hex:", "hex:abc", "SERVICE=", "env:NOPE", "file:nope", "!"])
def test_bad_keys(channel, key):
    done = run(channel, "--key", key)
    assert done.returncode == 6
    assert not done.stderr


def test_other_key_and_missing_signature(channel, tmp_path):
    assert run(channel, "--key", "hex:" + bytes(32).hex()).returncode == 6
    assert run(channel, "--require-signature").returncode == 0, "the public keys' is one"
    assert run(channel, "--require-signature", "--key", TEXT).returncode == 0
    shared = channels.build(tmp_path / "shared", Signing(KEY))
    assert run(shared, "--require-signature").returncode == 6
    assert run(shared, "--require-signature", "--key", TEXT).returncode == 0
    plain = channels.build(tmp_path / "plain")
    assert run(plain).returncode == 0
    assert "unsigned" in run(plain).stdout
    assert run(plain, "--require-signature").returncode == 6
    assert run(plain, "--key", TEXT).returncode == 6


def test_no_such_folder_is_another_matter(channel):
    assert run(channel, "nowhere").returncode == 2


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"id":1,"id":2}',
        b'{"signature":{"algorithm":"hmac-sha384","value":1}}',
        b'{"signature":null}',
        b'{"integrity_manifest":{"sha256":NaN}}',
        b'{"artifacts":{},"id":"x","version":"1","integrity_manifest":[]}',
        b"\xff",
    ],
    ids=range(10),
)
def test_malformed_manifests_end_without_traceback(channel, document):
    (channel / "repack/manifest.json").write_bytes(document)
    for arguments in ((), ("--key", TEXT)):
        done = run(channel, *arguments)
        assert done.returncode == 6, done.stderr
        assert not done.stderr


def module():
    spec = importlib.util.spec_from_file_location("shipped_verify", channels.VERIFY)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


SHIPPED = module()


@given(
    st.one_of(
        st.binary(min_size=1, max_size=40).map(lambda b: base64.b64encode(b).decode()),
        st.binary(max_size=40).map(lambda b: "hex:" + b.hex()),
        st.text(alphabet="SERVICabc019=:+/-hexbase64", max_size=24),
        st.text(max_size=9).map("text:".__add__),
    ),
    st.sampled_from(["", "SERVICE=", "oem-updates=", "a@b:c="]),
)
def test_keys_mean_the_same_here_and_there(value, key_id):
    text = key_id + value
    try:
        ours = parse_key(text).resolve({}, lambda _: b"").secret
    except RepackError:
        ours = None
    try:
        theirs = SHIPPED.read_key(text)
    except SHIPPED.Bad:
        theirs = None
    if ours is not None:
        assert theirs == ours
