"""What people type from the older procedures, word for word; only the folders are moved."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from repack.cli.main import run as repack
from tests.agent.bank import toml
from tests.cli.test_license import run
from tests.licensing import write_factors
from tests.scripts import test_runbook
from tests.world import World, snapshot

site = test_runbook.site
pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")

RUNBOOK = """\
python secrets/licensing/offline_portal.py status --store /media/usb/license_store.json --read-local
cp secrets/license_store.json secrets/license_store.json.preupdate
python secrets/licensing/offline_portal.py verify \\
  --store secrets/license_store.json --license /media/usb/licence.json \\
  --read-local --hmac-key env:OEM_LICENSE_HMAC_KEY
tar -xf /media/usb/core-oem-2024.06-linux.delta.tar.gz -C /opt/core-oem
python secrets/licensing/offline_portal.py recover \\
  --store secrets/license_store.json --output secrets/license_store.json \\
  --old-fingerprint-file backups/fingerprint.old --read-local-new \\
  --report var/reports/licensing/recovery-$(date -u +%Y%m%dT%H%M%SZ).json
"""


def commands(text):
    return text.replace("\\\n", "").strip().splitlines()


def sh(line, code=0):
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


def moved(line, site):
    """The document's line, with its folders below a scratch folder and today's version."""
    places = {
        "secrets/licensing/": "scripts/",
        "/media/usb": str(site / "stick"),
        "/opt/core-oem": str(site / "opt/core-oem"),
        "2024.06": "2",
    }
    for old, new in places.items():
        line = line.replace(old, new)
    return line


@pytest.fixture
def visit(site):
    """A site with a licence and release 1, and the stick that the vendor made for release 2."""
    sh(
        "repack license fingerprint --document --key env:OEM_LICENSE_HMAC_KEY"
        " -o fingerprint.expected.json"
    )
    test_runbook._issue(site)
    sh("repack notarize channels/halkbank")
    sh(f"repack medium halkbank {site}/stick --oem --has 1")
    for path in (site / "stick/oem/halkbank").glob("*.delta.tar.gz"):
        shutil.copy(path, site / "stick")
    shutil.copy(site / "secrets/license_store.json", site / "stick")
    (site / "backups").mkdir()
    sh("repack license fingerprint -o backups/fingerprint.old")
    shutil.copytree(site / "share/halkbank", site / "opt/core-oem")
    return site


def test_the_oem_support_runbook(visit):
    status, copy, verify, tar, recover = (moved(line, visit) for line in commands(RUNBOOK))
    before = snapshot(visit / "stick"), snapshot(visit / "secrets")
    assert sh(status)["licenses"][0]["status"] == "valid"
    assert sh(verify)["status"] == "valid"
    assert (snapshot(visit / "stick"), snapshot(visit / "secrets")) == before, "looking wrote"
    sh(copy)
    sh(tar)
    inside = f"cd {visit}/opt/core-oem && python3 repack/verify.py"
    assert "halkbank release 2: ok" in sh(inside)
    assert "left over from earlier releases" in sh(inside)
    assert "removed" in sh(f"{inside} --tidy")
    assert "left over" not in sh(inside)
    run("verify", visit / "opt/core-oem", "--require-signature", "--key", "env:REPACK_HMAC_KEY")
    sh(status)
    # new hardware
    write_factors(visit / "factors.json", product_uuid="4c4c4544-ffff-ffff-8052-b4c04f4a4d31")
    assert "recover" in sh(status, 6)["hint"]
    report = sh(recover)["report"]
    assert report["reason"] == "other-hardware"
    assert sh(verify)["status"] == "valid"
    assert len(list((visit / "var/reports/licensing").glob("recovery-*.json"))) == 1


def test_the_store_from_before_the_update_is_put_back(visit):
    _, copy, verify, _, recover = (moved(line, visit) for line in commands(RUNBOOK))
    sh(copy)
    sh("python scripts/offline_portal.py revoke --store secrets/license_store.json"
       " --license-id HB-2026-001 --reason mistake")  # fmt: skip
    sh("cp secrets/license_store.json.preupdate secrets/license_store.json")
    assert "store-put-back" in sh(verify, 6)["issues"][0]
    assert sh(recover)["report"]["reason"].startswith("store-put-back")
    assert sh(verify)["status"] == "valid"


def test_a_store_on_a_read_only_stick(visit):
    if os.geteuid() != 0:
        pytest.skip("mounts the stick")
    status, *_ = commands(RUNBOOK)
    stick = visit / "stick"
    subprocess.run(["mount", "--bind", stick, stick], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", stick], check=True)
        answer = sh(moved(status, visit))
        assert answer["licenses"][0]["status"] == "valid"
        line = f"python scripts/offline_portal.py revoke --store {stick}/license_store.json"
        said = sh(f"{line} --license-id HB-2026-001 --reason x", 2)
        assert "read-only" in json.dumps(said).lower()
    finally:
        subprocess.run(["umount", stick], check=True)


@pytest.mark.parametrize(
    ("key", "code"), [("hex:" + "00" * 48, 6), ("", 6), ("env:NOT_SET", 6), ("nonsense!", 6)]
)
def test_a_wrong_key_is_said(visit, key, code):
    _, _, verify, *_ = commands(RUNBOOK)
    said = sh(moved(verify, visit).replace("env:OEM_LICENSE_HMAC_KEY", f"'{key}'"), code)
    assert said["issues"]


def test_the_fingerprint_is_checked_with_the_usual_key(visit):
    sh("mkdir bootstrap && cp scripts/verify_fingerprint.py bootstrap/")
    assert sh("python bootstrap/verify_fingerprint.py")["signature"] == "valid"


# --- offline updates of devices


class Device:
    """A vendor with three releases for the wave north, and a device with the least configuration."""

    def __init__(self, root, monkeypatch):
        monkeypatch.chdir(root)
        self.root, self.boot = root, 0
        self.monkeypatch = monkeypatch
        self.world = World(root, name="halkbank")
        (root / "models").mkdir()
        label = {
            "signing": {"keys": "keys/halkbank"},
            "platforms": {"linux-64": {}},
            "after_install": {"packages": "reboot", "bundles": "restart"},
            "bundles": {"models": {"path": str(root / "models"), "version": "1"}},
        }
        for number, packages in enumerate((["tiny-data"], ["tiny-data"], ["tiny-app"]), 1):
            (root / "models/a.txt").write_text(str(min(number, 2)))
            self.world.build("--update", packages=[*packages, "pip"], **label)
        config = root / "config"
        config.mkdir()
        self.config = config
        (config / "10-device.toml").write_text(
            '[provision]\nprimary_ecu_hardware_id = "halkbank"\n'
        )
        (config / "20-other.toml").write_text('[pacman]\ntype = "ostree"\n[tls]\nserver = "x"\n')
        places = {"storage": {"root": str(root / "opt")}, "log": {"path": str(root / "log")}}
        (config / "30-scratch.toml").write_text(toml(places))
        shutil.copy(self.world.channel / "repack/metadata/1.root.json", config / "root.json")
        self.reboot()

    def reboot(self):
        self.boot += 1
        self.monkeypatch.setattr("repack.host.boot_id", lambda number=self.boot: f"boot {number}")

    def vendor(self, *words):
        folders = ["--channels-dir", str(self.world.channels)]
        if words[0] == "medium":
            folders += ["--store", str(self.world.store)]
        assert repack([*words, *folders]) == 0

    def agent(self, *words):
        return repack(["target", *words, "--config", str(self.config)])

    def stick(self, release):
        path = self.root / f"stick {release}"
        self.vendor("promote", "halkbank", "--release", str(release), "--tag", "north")
        self.vendor("medium", "halkbank", str(path), "--release", str(release), "--tag", "north", "--prod")  # fmt: skip
        return ["install", "--src-dir", str(path)]

    def health(self, *command):
        (self.config / "40-health.toml").write_text(toml({"health": {"command": list(command)}}))


def test_offline_updates_of_devices(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch)
    assert device.agent(*device.stick(1)) == 100
    assert device.agent("run") == 100, "not rebooted yet"
    device.reboot()
    assert device.agent("run") == 0
    assert device.agent(*device.stick(2)) == 101, "bundles alone"
    assert device.agent("run") == 0
    assert device.agent(*device.stick(3)) == 100
    device.health("sh", "-c", "! grep -q tiny-app conda-meta/history && ! ls conda-meta/tiny-app*")
    device.reboot()
    assert device.agent("run") == 100, "failed, rolled back; reboot"
    assert device.agent("run") == 100
    device.reboot()
    assert device.agent("run") == 110, "and run once more to complete the roll-back"
    assert device.agent("run") == 40
    assert (tmp_path / "opt/halkbank/current").readlink().name == "2"
    assert (tmp_path / "log/halkbank.log").read_text().count('"event": "reboot-needed"') >= 3


def test_a_ci_medium_is_not_for_a_production_device(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch)
    path = tmp_path / "stick"
    device.vendor("medium", "halkbank", str(path), "--release", "1")
    assert device.agent("install", "--src-dir", str(path)) == 15
