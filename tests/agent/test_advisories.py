"""``repack target advisories``: what is installed, judged by what a later medium carries."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from repack.errors import ContentMissingError, NoSuchReleaseError
from tests.advisories.databases import CRITICAL, entry, write_zip
from tests.agent import bank as banks
from tests.agent.test_from_media import target, write

GRAVE = {"severity": [{"type": "CVSS_V3", "score": CRITICAL}], "aliases": ["CVE-2026-7"]}
PIP = entry("pip", "GHSA-7", {"introduced": "0"}, {"fixed": "24.1"}, **GRAVE)
OLD = entry("pip", "GHSA-1", {"introduced": "0"}, {"fixed": "1"}, modified="2026-11-01T00:00:00Z")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Release 1 carries nothing, 2 an old database, 3 a newer one that knows of a fault of pip."""
    root = tmp_path_factory.mktemp("vendor")
    before = Path.cwd()
    os.chdir(root)
    try:
        made = banks.world(root)
        for number, rows in ((1, ()), (2, (OLD,)), (3, (OLD, PIP))):
            if rows:
                write_zip(made.labels / "osv.zip", *rows)
                made.label["advisories"] = {"source": "osv.zip"}
            packages = ["tiny-app"] if number == 1 else ["tiny-data", "pip"]
            made.build(packages=packages, **banks.bump(number))
            banks.keep(made, root / "media", number)
    finally:
        os.chdir(before)
    return root / "media"


@pytest.fixture
def bank(media, tmp_path):
    shutil.copytree(media, tmp_path / "media", copy_function=os.link)
    made = banks.Bank(tmp_path)
    assert made.install(1)[0] == 0
    return made


def ask(bank, *medium):
    words = ["--src-dir", str(bank.medium(medium[0]))] if medium else []
    return bank.agent("advisories", *words)


def test_an_installed_release_is_judged_by_a_later_medium(bank):
    code, said = ask(bank, 3)
    assert code == 0
    assert said["release"] == 1, "nothing was installed"
    (finding,) = said["findings"]
    assert (finding["id"], finding["fixed"]) == ("CVE-2026-7", "24.1")
    assert finding["package"] == "noarch/pip-24.0-pyh0_0.conda"
    assert said["database"]["date"] == "2026-11-28T10:00:00Z"
    # `tiny-app` is not in release 3: its name was never asked about, so nobody says it is clean.
    assert any("tiny-app" in path for path in said["unknown"])
    assert bank.in_use == 1
    assert bank.journal["phase"] == "idle"


def test_what_was_brought_once_judges_later(bank):
    code, said = ask(bank)
    assert (code, said["error"]) == (ContentMissingError.exit_code, "content-missing")
    assert "--src-dir" in said["hint"]
    assert ask(bank, 3)[0] == 0
    code, said = ask(bank)
    assert [finding["id"] for finding in said["findings"]] == ["CVE-2026-7"]


def test_an_older_medium_does_not_bring_back_an_older_database(bank):
    assert ask(bank, 3)[0] == 0
    code, said = ask(bank, 2)
    assert code == 0
    assert [finding["id"] for finding in said["findings"]] == ["CVE-2026-7"]
    assert ask(bank)[1]["findings"]


def test_a_medium_without_advisories(bank):
    code, said = ask(bank, 1)
    assert code == ContentMissingError.exit_code
    assert "carries no advisories" in said["what"]
    assert "advisories:" in said["hint"]


def test_forged_advisories_are_refused(bank):
    path = bank.medium(3) / "bank/repack/advisories.json"
    data = path.read_bytes().replace(b"GHSA-7", b"GHSA-8")
    path.unlink()
    path.write_bytes(data)
    code, said = ask(bank, 3)
    assert code == ContentMissingError.exit_code
    assert "not what was released" in said["what"]
    assert not (bank.folder / "state/advisories.json").exists()


def test_damaged_ones_on_the_target(bank):
    assert ask(bank, 3)[0] == 0
    (bank.folder / "state/advisories.json").write_text("{")
    code, said = ask(bank)
    assert code == 2
    assert "advisories.json" in said["where"]


def test_nothing_installed(media, tmp_path):
    shutil.copytree(media, tmp_path / "media", copy_function=os.link)
    code, said = ask(banks.Bank(tmp_path), 3)
    assert code == NoSuchReleaseError.exit_code
    assert "no release is in use" in said["what"]


def test_a_stick_carries_them(tmp_path, monkeypatch):
    """By `repack medium`, with two releases on it."""
    monkeypatch.chdir(tmp_path)
    made, stick = banks.world(tmp_path), tmp_path / "stïck"
    made.build(packages=["tiny-app"], **banks.bump(1))
    write(made, stick)
    (tmp_path / "target").mkdir()
    bank = target(made, tmp_path)
    assert bank.agent("install", "--src-dir", str(stick))[0] == 0
    write_zip(made.labels / "osv.zip", PIP)
    made.build(packages=["tiny-data", "pip"], advisories={"source": "osv.zip"}, **banks.bump(2))
    write(made, stick)
    code, said = bank.agent("advisories", "--src-dir", str(stick))
    assert (code, said["release"]) == (0, 1)
    assert [finding["id"] for finding in said["findings"]] == ["CVE-2026-7"]
