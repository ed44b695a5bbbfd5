"""The commands as support types them, in fresh processes."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from repack.cli import main
from tests.licensing import FACTORS, write_factors

ROOT = Path(__file__).parent.parent.parent
KEY_ID = "oem-licences"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A device's folder: factors of the old and the new mainboard, and the vendor's key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OEM_LICENSE_HMAC_KEY", base64.b64encode(bytes(range(48))).decode())
    monkeypatch.setenv("REPACK_FACTORS", str(write_factors(tmp_path / "factors.json")))
    return tmp_path


def site_again(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OEM_LICENSE_HMAC_KEY", base64.b64encode(bytes(range(48))).decode())
    monkeypatch.setenv("REPACK_FACTORS", str(folder / "factors.json"))


def in_a_process(*words, code=0):
    """Run a program and return what it printed, as JSON where it is."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return read(done.stdout)


def run(*words, code=0):
    """Run a command in here and return what it printed, as JSON where it is."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main.run([str(word) for word in words]) == code, out.getvalue()
    return read(out.getvalue())


def read(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.strip()


def portal(*words, code=0):
    return run("license", *words, code=code)


def portal_script(*words):
    return in_a_process(ROOT / "scripts/offline_portal.py", *words)


def provision(**more):
    run("license", "fingerprint", "--document", "--key", "env:OEM_LICENSE_HMAC_KEY",
        "--key-id", KEY_ID, "-o", "fingerprint.expected.json")  # fmt: skip
    words = [
        word for name, value in more.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    run("license", "issue", "--customer", "HalkBank", "--label", "halkbank", "--license-id", "L-1",
        "--document", "fingerprint.expected.json", "--feature", "risk", "--feature", "models",
        "--not-after", "2099-12-31", "--key", f"{KEY_ID}=env:OEM_LICENSE_HMAC_KEY",
        "-o", "licence.json", *words)  # fmt: skip


STORE = ("--store", "secrets/license_store.json")
VERIFY = ("verify", *STORE, "--license", "licence.json", "--read-local",
          "--hmac-key", "env:OEM_LICENSE_HMAC_KEY")  # fmt: skip


def new_mainboard(site):
    write_factors(site / "factors.json", product_uuid="4c4c4544-ffff-ffff-8052-b4c04f4a4d31",
                  board_serial="/8ZZZM13/CN7016359")  # fmt: skip


def test_the_whole_way_over_a_new_mainboard(site):
    provision()
    portal_script("install", *STORE, "--license", "licence.json")
    answer = portal_script("status", *STORE, "--read-local")
    assert answer["licenses"][0]["status"] == "valid"
    fingerprint = run("license", "fingerprint")
    (site / "fingerprint.old").write_text(fingerprint + "\n")
    assert answer["fingerprint"] == fingerprint
    assert (
        portal_script("status", *STORE, "--fingerprint", fingerprint)["fingerprint"] == fingerprint
    )
    assert portal_script("status", *STORE, "--fingerprint-file", "fingerprint.old")["licenses"]
    answer = portal_script(*VERIFY)
    assert (answer["status"], answer["issues"], answer["signature"]["valid"]) == ("valid", [], True)

    new_mainboard(site)
    lost = portal("status", *STORE, "--read-local", code=6)
    assert "recover" in lost["hint"]
    report = "var/reports/licensing/recovery-20261121T120000Z.json"
    answer = portal_script("recover", *STORE, "--output", "secrets/license_store.json",
                    "--old-fingerprint-file", "fingerprint.expected.json", "--read-local-new",
                    "--report", report)  # fmt: skip
    assert json.loads((site / report).read_text()) == answer["report"]
    assert answer["report"]["changed_factors"] == ["board_serial", "product_uuid"]
    assert portal_script(*VERIFY)["status"] == "valid"
    assert portal_script("reports", "var/reports/licensing", *STORE)["issues"] == []


def test_a_new_card_disk_or_kernel_changes_nothing(site):
    provision()
    portal("install", *STORE, "--license", "licence.json")
    write_factors(site / "factors.json", hostname="new", kernel="6.12", mac="02:00:00:00:00:01",
                  disk_serial="S5")  # fmt: skip
    assert portal(*VERIFY)["status"] == "valid"


def test_verify_fails_whenever_something_is_wrong(site, monkeypatch):
    provision()
    assert portal("install", *STORE, "--license", "licence.json")["generation"] == 1
    before = (site / "secrets/license_store.json").read_bytes()
    licence = json.loads((site / "licence.json").read_text())
    (site / "licence.json").write_text(json.dumps({**licence, "not_after": "2199-12-31"}))
    assert portal(*VERIFY, code=6)["status"] == "bad-signature"
    (site / "licence.json").write_text(json.dumps({**licence, "license_id": "L-2"}))
    assert "missing-in-store" in portal(*VERIFY, code=6)["issues"]
    (site / "licence.json").write_text(json.dumps(licence))
    assert portal(*VERIFY, "--label", "other", code=6)["issues"] == ["label-mismatch"]
    monkeypatch.setenv("OEM_LICENSE_HMAC_KEY", "")
    assert portal(*VERIFY, code=6)["error"] == "key-refused"
    monkeypatch.delenv("OEM_LICENSE_HMAC_KEY")
    assert "OEM_LICENSE_HMAC_KEY is not set" in portal(*VERIFY, code=6)["what"]
    assert portal(*VERIFY[:-2], code=6)["issues"] == ["signature-unchecked: no key was given"]
    monkeypatch.setenv("OEM_LICENSE_HMAC_KEY", "c2hvcnQ=")
    assert portal(*VERIFY, code=6)["status"] == "bad-signature"
    assert (site / "secrets/license_store.json").read_bytes() == before


def test_a_revoked_licence(site):
    provision()
    portal("install", *STORE, "--license", "licence.json")
    answer = portal("revoke", *STORE, "--license-id", "L-1", "--reason", "sold")
    assert answer["licenses"][0]["status"] == "revoked"
    assert portal(*VERIFY, code=6)["status"] == "revoked"
    assert portal("status", *STORE)["licenses"][0]["status"] == "revoked"


def test_an_expired_licence_is_not_installed(site):
    provision(not_before="2020-01-01")
    run("license", "issue", "--customer", "H", "--label", "halkbank", "--license-id", "L-0",
        "--fingerprint", run("license", "fingerprint"), "--not-before", "2020-01-01",
        "--not-after", "2020-12-31", "--key", "env:OEM_LICENSE_HMAC_KEY", "-o", "old.json")  # fmt: skip
    assert "expired" in portal("install", *STORE, "--license", "old.json", code=6)["what"]
    assert not (site / "secrets/license_store.json").exists()


def test_verify_fingerprint(site, monkeypatch):
    provision()
    script = ROOT / "scripts/verify_fingerprint.py"
    expected = ("--expected", "fingerprint.expected.json")
    key = ("--key", "env:OEM_LICENSE_HMAC_KEY")
    assert in_a_process(script, *expected, *key)["status"] == "match"
    assert in_a_process(script)["signature"] == "valid", "the key of the usual variable"
    monkeypatch.setenv("OEM_LICENSE_HMAC_KEY", "hex:" + "ab" * 32)
    assert "signature" in in_a_process(script, code=6)["what"]
    monkeypatch.delenv("OEM_LICENSE_HMAC_KEY")
    assert in_a_process(script)["signature"] == "unchecked"
    monkeypatch.undo()
    site_again(site, monkeypatch)
    write_factors(site / "factors.json", board_serial="another")
    answer = in_a_process(script, *expected, *key, code=6)
    assert (answer["status"], answer["differing"]) == ("mismatch", ["board_serial"])
    write_factors(site / "factors.json", board_serial="None")
    answer = in_a_process(script, *expected, code=6)
    assert answer["unreadable"] == {"board_serial": "the manufacturer left it blank"}
    text = (site / "fingerprint.expected.json").read_text()
    (site / "fingerprint.expected.json").write_text(text.replace("machine_id", "machine_ix"))
    assert in_a_process(script, *expected, *key, code=6)["error"] == "signature"


def test_a_fingerprint_shows_no_serial_number(site):
    answer = run("license", "fingerprint", "--json")
    assert sorted(answer["factors"]) == sorted(FACTORS)
    assert not [value for value in FACTORS.values() if value in json.dumps(answer)]
    assert run("license", "fingerprint") == answer["fingerprint"]


def test_this_machine_is_told_or_says_why_not(site, monkeypatch):
    monkeypatch.delenv("REPACK_FACTORS")
    done = subprocess.run([sys.executable, "-m", "repack", "license", "fingerprint", "--json"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    answer = json.loads(done.stdout)
    assert done.returncode in {0, 6}
    assert answer["factors"] if done.returncode == 0 else answer["error"] == "fingerprint"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status", *STORE), 2),
        (("status", *STORE, "--fingerprint", "X", "--read-local"), 2),
        (("status", *STORE, "--fingerprint", "X", "--fingerprint-file", "f"), 2),
        (("install", *STORE, "--license", "none.json"), 2),
        (("install", *STORE, "--license", "factors.json"), 6),
        (("recover", *STORE, "--report", "r.json", "--read-local-new"), 2),
        (("recover", *STORE, "--report", "r.json", "--old-fingerprint", "X"), 2),
        (("reports", "nowhere"), 2),
        (("revoke", *STORE, "--license-id", "L-1"), 2),
    ],
)
def test_bad_calls_answer_in_json_and_write_nothing(site, words, code):
    answer = portal(*words, code=code)
    assert answer["exit_code"] == code
    assert answer["what"]
    assert not (site / "secrets/license_store.json").exists()
    assert not (site / "r.json").exists()
    assert portal(*words, "--json", code=code)["what"] == answer["what"]


def test_recovering_over_the_command_line_with_named_devices(site):
    provision(fingerprint="OEM-OLD-9999")
    portal("install", *STORE, "--license", "licence.json", "--fingerprint", "OEM-OLD-9999")
    (site / "new").write_text("OEM-DEVICE-1234\n")
    answer = portal("recover", *STORE, "--old-fingerprint", "OEM-OLD-9999",
                    "--new-fingerprint-file", "new", "--report", "r/1.json")  # fmt: skip
    assert answer["licenses"][0]["status"] == "valid"
    assert answer["new_fingerprint"] == "OEM-DEVICE-1234"
    where = (*STORE, "--fingerprint", "OEM-DEVICE-1234")
    assert portal("verify", *where)["issues"] == []
    assert portal("reports", "r", *where)["issues"] == []
    report = json.loads((site / "r/1.json").read_text())
    (site / "r/1.json").write_text(json.dumps({**report, "recovered_at": "x"}))
    assert len(portal("reports", "r", *where, code=6)["issues"]) == 2


def test_reports_need_a_key(site, monkeypatch):
    monkeypatch.delenv("OEM_LICENSE_HMAC_KEY")
    assert "no key" in portal("reports", ".", code=2)["what"]


def test_a_document_needs_a_key_and_a_licence_a_signed_document(site):
    assert "signed" in run("license", "fingerprint", "--document", "--json", code=2)["what"]
    run("license", "fingerprint", "--json", "-o", "plain.json")
    words = ("license", "issue", "--customer", "H", "--label", "halkbank", "--license-id", "L",
             "--document", "plain.json", "--not-after", "2099-12-31", "-o", "l.json",
             "--key", "env:OEM_LICENSE_HMAC_KEY", "--json")  # fmt: skip
    assert run(*words, code=6)["error"] == "signature"
    run("license", "fingerprint", "--document", "--key", "env:OEM_LICENSE_HMAC_KEY", "-o", "d.json")
    words = tuple("d.json" if word == "plain.json" else word for word in words)
    assert run(*words)["license"] == "l.json"


def test_no_factor_readable(site):
    (site / "factors.json").write_text('{"hostname": "a"}')

    error = run("license", "fingerprint", "--json", code=6)
    assert "no factor is readable" in error["what"]


def test_outputs_are_not_written_through_symlinks(site):
    provision()
    (site / "elsewhere").mkdir()
    (site / "secrets").symlink_to("elsewhere")
    assert "symlink" in portal("install", *STORE, "--license", "licence.json", code=2)["what"]
    assert not list((site / "elsewhere").iterdir())
