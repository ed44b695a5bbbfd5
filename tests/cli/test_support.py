from __future__ import annotations

import hashlib
import json
import zipfile

import pytest

from repack.errors import IntegrityError, UsageError
from repack.support.bundle import TAIL, Request, collect
from tests.cli.test_license import STORE, portal, provision, run, site
from tests.licensing import NOW
from tests.small_channel import channel_at

__all__ = ["site"]
SECRET = "hunter2-Zx81"


def bundle(*words, code=0):
    answer = run("support", "bundle", "-o", "ticket/support.zip", "--json", *words, code=code)
    if code:
        return answer, {}
    with zipfile.ZipFile(answer["bundle"]) as archive:
        assert archive.testzip() is None
        return answer, {name: archive.read(name) for name in archive.namelist()}


def test_it_says_what_is_in_it_and_holds_no_secret(site, monkeypatch):
    monkeypatch.setenv("HALKBANK_TOKEN", SECRET)
    provision()
    portal("install", *STORE, "--license", "licence.json")
    channel_at(site / "channels" / "halkbank")
    log = site / "var" / "log" / "core"
    log.mkdir(parents=True)
    (log / "agent.log").write_text(f"fetched with {SECRET}\nall is well\n")
    (log / "windows.log").write_text(f"password={SECRET}\n", encoding="utf-16")
    (log / "core.bin").write_bytes(bytes(range(256)) * 9)
    (log / "update.key").write_text("k")
    (log / "passwd.log").symlink_to("/etc/passwd")
    (log / "long.log").write_text("first\n" + "x" * 99 + "\n" * 2 + "y\n" * TAIL)
    answer, held = bundle("--log", "missing.log")
    contents = json.loads(held.pop("CONTENTS.json"))
    assert contents == {name: value for name, value in answer.items() if name != "bundle"}
    rows = {row["name"]: row for row in contents["files"]}
    assert set(rows) == set(held)
    for name, data in held.items():
        assert rows[name]["sha256"] == hashlib.sha256(data).hexdigest()
        assert SECRET.encode() not in data
        assert answer is not None
    assert held["files/var/log/core/agent.log"] == b"fetched with ***\nall is well\n"
    assert rows["files/var/log/core/windows.log"]["note"] == "secrets taken out"
    assert "last 2 MiB" in rows["files/var/log/core/long.log"]["note"]
    assert not held["files/var/log/core/long.log"].startswith(b"first")
    why = {row["name"]: row["why"] for row in contents["left_out"]}
    assert why == {
        "var/log/core/core.bin": "no text",
        "var/log/core/update.key": "may hold keys",
        "var/log/core/passwd.log": "a link is not followed",
        "missing.log": "no such file or directory",
    }
    license_state = json.loads(held["status/license.json"])
    assert license_state["licenses"] == [{"license_id": "L-1", "status": "valid", "issues": []}]
    assert run("license", "fingerprint").encode() not in held["status/license.json"]
    assert json.loads(held["status/channels.json"])[0]["release"] == "1"


def test_a_store_that_does_not_open_is_told_and_stays_as_it_is(site):
    (site / "secrets").mkdir()
    (site / "secrets/license_store.json").write_text("{}")
    _, held = bundle()
    assert json.loads(held["status/license.json"])["error"] == "license"
    assert (site / "secrets/license_store.json").read_text() == "{}"


def test_the_same_content_is_the_same_file(tmp_path):
    (tmp_path / "a.log").write_text("a\n")
    for name in ("one.zip", "two.zip"):
        collect(Request((tmp_path / "a.log",), {"x": 1}, frozenset()), tmp_path / name, NOW)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_secret_in_a_name_stops_it(tmp_path):
    (tmp_path / f"{SECRET}.log").write_text("a\n")
    with pytest.raises(IntegrityError, match="a secret is left"):
        collect(Request((tmp_path,), {}, frozenset({SECRET})), tmp_path / "x.zip", NOW)
    assert not (tmp_path / "x.zip").exists()


def test_it_is_not_written_through_a_symlink(tmp_path):
    (tmp_path / "out.zip").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="symlink"):
        collect(Request((), {}, frozenset()), tmp_path / "out.zip", NOW)


def test_too_many_files_are_left_out_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr("repack.support.bundle.MAX_FILES", 2)
    for number in range(4):
        (tmp_path / f"{number}.log").write_text("a\n")
    done = collect(Request((tmp_path,), {}, frozenset()), tmp_path / "x" / "x.zip", NOW)
    assert len(done.pieces) == 2
    assert set(done.left_out.values()) == {"the bundle is full"}


def test_the_usual_name_and_words(site):
    text = run("support", "bundle")
    assert text.splitlines()[-1].startswith("var/support/support-")
    assert "status/machine.json" in text
