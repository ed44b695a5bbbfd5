"""Odd but legitimate input means one thing, and what is written names SHA-256."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repack.keys.shared_key import parse_key
from repack.shipped import verify
from scripts import release_archive
from tests import tiny
from tests.world import World, records


@pytest.mark.parametrize("size", [1, 23, 25, 31, 32, 34, 35, 48, 64])
@pytest.mark.parametrize("form", ["base64:{b64}", "oem=base64:{b64}", "hex:{hex}", "{b64}"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_key_means_the_same_by_variable_and_by_file(size, form, end):
    secret = bytes(range(size))
    text = form.format(b64=base64.b64encode(secret).decode(), hex=secret.hex())
    if form == "{b64}" and len(text + end) in {32, 48}:
        pytest.skip("a file of this size is a raw key")
    by_variable = parse_key("env:K").resolve({"K": text}, lambda _: b"")
    by_file = parse_key("file:k").resolve({}, lambda _: (text + end).encode())
    assert by_file == by_variable
    assert by_file.secret == secret


@pytest.mark.parametrize("size", [23, 25, 34])
@pytest.mark.parametrize("form", ["base64:{}", "oem=base64:{}"])
def test_the_checker_that_travels_reads_keys_alike(tmp_path, monkeypatch, size, form):
    text = form.format(base64.b64encode(bytes(range(size))).decode())
    (tmp_path / "key").write_text(text + "\n")
    monkeypatch.setenv("K", text)
    path = f"file:{tmp_path / 'key'}"
    assert verify.read_key(path) == verify.read_key("env:K") == bytes(range(size))
    by_script = release_archive._decode_key_file((text + "\n").encode(), "key")
    assert by_script[1] == bytes(range(size))


@pytest.mark.parametrize("form", ["keep", "tar.bz2"])
def test_explicit_lists_carry_sha256(tmp_path, form):
    world = World(tmp_path, {"platforms": {"linux-64": {}}, "packages": ["tiny-data"]})
    tiny.channel(world.upstream, tuple(map(tiny.old, tiny.PACKAGES)), "conda")
    world.build("--prove", "solved", package_format=form)
    text = (world.channel / "repack" / "explicit-linux-64.txt").read_text()
    held = {fn: row["sha256"] for fn, row in records(world.channel, "noarch").items()}
    listed = [fn for fn in held if f"noarch/{fn}" in text]
    assert any(fn.startswith("tiny-data") for fn in listed)
    for fn in listed:
        assert held[fn] in text, fn


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's redirections")
@pytest.mark.parametrize("where", [">&-", ">/dev/full", "| head -c 0"])
def test_an_output_that_cannot_be_written_is_no_traceback(where):
    root = Path(__file__).parents[2]
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{sys.executable}' -m repack schema {where}"],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in result.stderr
    assert where != ">/dev/full" or (
        result.returncode == 9 and "cannot be written" in result.stderr
    )
