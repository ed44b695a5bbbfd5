"""What runs on a target runs with the packages that the agent's package asks for, and no other."""

from __future__ import annotations

import json
import subprocess
import sys
import venv

import pytest

from repack.label.agent import NEEDS, own_sources
from tests.agent import bank as banks
from tests.deltas import Deltas
from tests.licensing import write_factors

KEY = "oem=hex:" + "5a" * 48


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment that holds repack's files and :data:`NEEDS`."""
    folder = tmp_path_factory.mktemp("agent")
    venv.create(folder, with_pip=True)
    program = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    needs = [spec.replace(" ", "") for spec in NEEDS if not spec.startswith("python ")]
    command = [program, "-m", "pip", "install", "--quiet", "--no-input", *needs]
    subprocess.run(command, check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([program, "-c", where], check=True, capture_output=True, text=True)
    for path, data in own_sources().items():
        target = folder.joinpath(site.stdout.strip(), "repack", path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return program


@pytest.fixture
def agent(python, tmp_path):
    """Runs repack there; returns the JSON that it prints."""
    factors = write_factors(tmp_path / "factors.json")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "REPACK_FACTORS": str(factors),
    }

    def run(*words, code=0):
        done = subprocess.run(
            [python, "-m", "repack", *map(str, words), "--json"],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=tmp_path,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout or "null")

    return run


@pytest.fixture
def vendor(tmp_path):
    """Two releases with bundles, and a customer who has the first."""
    bundles = {}
    for section in ("models", "strategies"):
        folder = tmp_path / "data" / section
        folder.mkdir(parents=True)
        (folder / "one.json").write_text("{}\n")
        bundles[section] = {"path": str(folder), "version": "1.0"}
    signing = {"keys": str(tmp_path / "keys")}
    return Deltas(tmp_path, signing=signing, bundles=bundles, after_install="restart")


@pytest.fixture
def target(vendor, agent, tmp_path):
    """Runs a command of the agent of a target that trusts the vendor."""
    root = vendor.customer / "repack/metadata/1.root.json"
    settings = banks.toml(
        {
            "provision": {"label": "bank", "type": "ci", "platform": "linux-64"},
            "storage": {"root": str(tmp_path / "opt")},
            "log": {"path": str(tmp_path / "log")},
            "trust": {"root": str(root)},
        }
    )
    config = tmp_path / "target.toml"
    config.write_text(settings)

    def run(command, *words, code=0):
        return agent("target", command, *words, "--config", config, code=code)

    return run


@pytest.mark.slow
def test_releases_come_by_medium_and_by_delta(vendor, agent, target):
    channel = vendor.customer
    assert agent("verify", channel)["release"] == "1"
    assert target("check", "--src-dir", channel)["new"]
    assert target("install", "--src-dir", channel, code=101)["did"] == "restart"
    assert target("run")["current"] == 1
    applied = agent("delta", "apply", channel, vendor.create(1, 2))
    assert (applied["from"], applied["release"]) == ("1", "2")
    assert agent("verify", channel)["release"] == "2"
    target("install", "--src-dir", channel, code=101)
    assert target("run")["current"] == 2
    assert target("status")["installed"] == [1, 2]
    target("check")
    assert target("rollback", code=101)["current"] == 1
    assert target("run")["did"] == "rolled-back"


@pytest.mark.slow
def test_bundles_are_verified_installed_and_packed_again(vendor, agent, tmp_path):
    folders = [w for s in ("models", "strategies") for w in (f"--{s}-dir", tmp_path / "live" / s)]
    install = (*folders, "--backup-dir", tmp_path / "backups")
    agent("bundle", "verify", "--source", vendor.customer)
    installed = agent("bundle", "install", "--source", vendor.customer, *install)["installed"]
    assert installed == ["models/one.json", "strategies/one.json"]
    archive = tmp_path / "release.tar.gz"
    agent(
        "bundle", "prepare", "--version", "2.0", *folders, "--output", archive, "--signing-key", KEY
    )
    signed = agent(
        "bundle", "verify", "--archive", archive, "--signing-key", KEY, "--require-signature"
    )
    assert signed["version"] == "2.0"
    assert agent("bundle", "install", "--archive", archive, *install)["version"] == "2.0"


@pytest.mark.slow
def test_licences_are_issued_installed_and_checked(agent, tmp_path):
    document, licence = tmp_path / "fingerprint.json", tmp_path / "licence.json"
    agent("license", "fingerprint", "--document", "--key", KEY, "-o", document)
    agent("license", "issue", "--customer", "HalkBank", "--label", "bank", "--license-id", "L-1",
          "--document", document, "--not-after", "2099-12-31", "--key", KEY, "-o", licence)  # fmt: skip
    store = ("--store", tmp_path / "secrets/license_store.json")
    agent("license", "install", *store, "--license", licence)
    assert agent("license", "status", *store)["licenses"][0]["status"] == "valid"
    checked = agent("license", "verify", *store, "--license", licence, "--hmac-key", KEY)
    assert checked["status"] == "valid"
