"""Every command of the runbook, run as it stands there, in its order, by a shell."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from repack import shipped
from tests.agent.bank import toml
from tests.cli.test_license import run
from tests.licensing import write_factors
from tests.world import World

ROOT = Path(__file__).parent.parent.parent
RUNBOOK = ROOT / "docs" / "support" / "runbook.md"
BLOCK = re.compile(r"^```sh ?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")


def chapters():
    """Number of the chapter -> its blocks, as (kind, commands)."""
    parts = re.split(r"^## (\d)\. ", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {int(n): BLOCK.findall(text) for n, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An installation with a stick beside it, a licence on the stick, and `repack` on the path."""
    monkeypatch.chdir(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    # Not a link: a Python that is started by a link does not find its virtual environment.
    wrapper = tools / "python"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    (tools / "repack").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m repack "$@"\n')
    (tools / "repack").chmod(0o755)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("vendor"))
    for name, value in {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "STICK": str(tmp_path / "stick"),
        "LABEL": "halkbank",
        "OEM_LICENSE_HMAC_KEY": base64.b64encode(bytes(range(48))).decode(),
        "OLD": "1",
        "NEW": "2",
        "CHANNEL": str(tmp_path / "share" / "halkbank"),
        "REPACK_HMAC_KEY": "hex:" + "ab" * 32,
        "REPACK_STORE": str(tmp_path / "störe"),
        "REPACK_FACTORS": str(write_factors(tmp_path / "factors.json")),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DEVICE", run("license", "fingerprint", "--json")["fingerprint"])
    _vendor(tmp_path)
    (tmp_path / "var" / "log").mkdir(parents=True)
    (tmp_path / "var" / "log" / "agent.log").write_text("installed release 1\n")
    return tmp_path


def _vendor(site):
    """What the vendor did before: two signed releases, the first of which is at the customer's."""
    world = World(site, name="halkbank")
    world.channels = site / "channels"
    signing = {"hmac": "env:REPACK_HMAC_KEY", "key_id": "oem-updates", "keys": "keys/halkbank"}
    world.build(signing=signing, license="required", platforms={"linux-64": {}})
    shutil.copytree(world.channel, site / "share" / "halkbank")
    # these two bring a python, which the agent can install for real
    world.build("--update", packages=["tiny-data", "pip"])
    shutil.copy(world.channel / "repack" / "metadata" / "1.root.json", site / "keys" / "root.json")
    shutil.copy(Path(shipped.__file__).parent / "verify.py", site / "verify.py")
    pem = next((site / "keys" / "halkbank").glob("ci-*.pem")).read_bytes()
    public = load_pem_private_key(pem, None).public_key()
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (site / "keys" / "vendor-ci.pem").write_bytes(public.public_bytes(*form))
    (site / "target").mkdir()
    settings = {
        "provision": {"label": "halkbank", "type": "ci", "platform": "linux-64",
                      "license_store": str(site / "secrets" / "license_store.json")},
        "storage": {"root": str(site / "opt")},
        "log": {"path": str(site / "var" / "log")},
        "trust": {"root": str(site / "keys" / "root.json")},
    }  # fmt: skip
    (site / "target" / "settings.toml").write_text(toml(settings), encoding="utf-8")


def _issue(site):
    run("license", "issue", "--customer", "HalkBank", "--label", "halkbank",
        "--license-id", "HB-2026-001", "--document", site / "fingerprint.expected.json",
        "--not-after", "2099-12-31", "--key", "env:OEM_LICENSE_HMAC_KEY",
        "-o", site / "stick" / "licence.json")  # fmt: skip
    run("license", "install", "--store", "secrets/license_store.json",
        "--license", site / "stick" / "licence.json")  # fmt: skip


def _shell(commands, code=0):
    for line in commands.strip().splitlines():
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"


def test_every_command_runs_as_written(site):
    book = chapters()
    assert list(book) == list(range(1, 9))
    ran = 0
    for number, blocks in book.items():
        if number == 6:  # the new mainboard
            write_factors(site / "factors.json", product_uuid="4c4c4544-ffff-ffff-8052-b4c04f4a4d31",
                          board_serial="/8ZZZM13/CN7016359")  # fmt: skip
        if number == 2:  # a device seen for the first time comes first here
            blocks.sort(key=lambda block: block[0] != "new-device")
        for kind, commands in blocks:
            if kind == "install":
                continue  # tests/data installs for real; it takes a conda
            assert kind in {"", "new-device"} or kind.startswith("exits ")
            _shell(commands, int(kind.partition(" ")[2] or 0) if "exits" in kind else 0)
            ran += len(commands.strip().splitlines())
            if kind == "new-device":
                _issue(site)
    assert ran > 25
    assert os.environ["DEVICE"] in (site / "stick/oem/halkbank/oem_installation.md").read_text()
    assert (site / "opt/halkbank/current").resolve().name == "2"
    answer = run("license", "status", "--store", "secrets/license_store.json")
    assert [row["status"] for row in answer["licenses"]] == ["revoked"]
    assert list((site / "var" / "support").glob("*.zip"))
    assert list((site / "var" / "reports" / "licensing").glob("recovery-*.json"))
    assert list(site.glob("secrets/license_store.json.*"))


def test_the_commands_of_the_other_pages_exist():
    page = (ROOT / "docs" / "licensing.md").read_text(encoding="utf-8")
    for words in re.findall(r"^repack (\w+)(?: ([a-z]+))?", page, flags=re.MULTILINE):
        given = [word for word in words if word and (words[0] == "license" or word == words[0])]
        run(*given, "--help")
