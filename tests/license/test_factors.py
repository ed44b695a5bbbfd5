from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from repack import host
from repack.errors import FingerprintError, IntegrityError, PlaceError
from repack.fs import volume
from repack.license import factors
from tests.licensing import FACTORS, write_factors

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a Linux tree")


@pytest.fixture
def root(tmp_path):
    dmi = tmp_path / "sys/class/dmi/id"
    dmi.mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (dmi / "product_uuid").write_text(FACTORS["product_uuid"] + "\n")
    (dmi / "board_serial").write_text(FACTORS["board_serial"] + "\n")
    (tmp_path / "etc/machine-id").write_text(FACTORS["machine_id"] + "\n")
    return tmp_path


def test_it_reads_what_linux_shows(root, tmp_path):
    given = write_factors(tmp_path / "factors.json")
    assert (
        factors.read_factors(root=root).fingerprint() == factors.read_factors(given).fingerprint()
    )


def test_what_is_missing_is_said(root):
    (root / "sys/class/dmi/id/product_uuid").unlink()
    (root / "etc/machine-id").write_text("")
    found = factors.read_factors(root=root)
    assert found.names == ("board_serial",)
    assert found.unreadable == {
        "product_uuid": "this system has none",
        "machine_id": "this system has none",
    }


def test_the_older_place_of_machine_id_counts(root):
    whole = factors.read_factors(root=root).fingerprint()
    (root / "var/lib/dbus").mkdir(parents=True)
    (root / "etc/machine-id").rename(root / "var/lib/dbus/machine-id")
    assert factors.read_factors(root=root).fingerprint() == whole


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives up root")
def test_without_root_it_says_what_needs_root(root):
    for name in ("product_uuid", "board_serial"):
        (root / f"sys/class/dmi/id/{name}").chmod(0o400)
    for folder in (root, *root.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    code = (
        "import os, json; from pathlib import Path; from repack.license import factors as host;"
        f"os.setuid(65534); f = host.read_factors(root=Path({str(root)!r}));"
        "print(json.dumps([f.names, f.unreadable]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, unreadable = json.loads(done.stdout)
    assert names == ["machine_id"]
    assert unreadable["product_uuid"] == "only root may read it"


def test_a_factors_file_can_add_a_dongle_to_the_host(root, tmp_path):
    (tmp_path / "dongle").write_text("HASP-77\n")
    given = tmp_path / "factors.json"
    mine = {"machine-id": "host", "board_serial": "host", "tpm": None}
    given.write_text(json.dumps({**mine, "dongle_usb": f"file:{tmp_path / 'dongle'}"}))
    found = factors.read_factors(given, root)
    assert found.names == ("board_serial", "dongle_usb", "machine_id")
    assert found.unreadable == {"tpm": "given as null"}
    (tmp_path / "dongle").write_text("HASP-78\n")
    assert factors.read_factors(given, root).fingerprint() != found.fingerprint()
    (tmp_path / "dongle").unlink()
    assert "dongle_usb" in factors.read_factors(given, root).unreadable


@pytest.mark.parametrize("text", ["[]", '{"machine_id": 4}', "4"])
def test_a_factors_file_of_another_form_is_refused(tmp_path, text):
    given = tmp_path / "factors.json"
    given.write_text(text)
    with pytest.raises(FingerprintError):
        factors.read_factors(given)


def test_a_factors_file_that_is_no_json_or_not_there(tmp_path):
    with pytest.raises(PlaceError):
        factors.read_factors(tmp_path / "none.json")
    (tmp_path / "f.json").write_text("{")
    with pytest.raises(IntegrityError):
        factors.read_factors(tmp_path / "f.json")


def test_facts_and_space(tmp_path):
    assert host.host_facts().machine
    assert volume.free_bytes(tmp_path / "not" / "there" / "yet") > 0
    assert host.now().tzinfo is not None
