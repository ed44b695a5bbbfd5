"""Databases in files and folders: indexed once, refused when they are none."""

from __future__ import annotations

import json
import os
import zipfile

import pytest

from repack.advisories import database
from repack.advisories.database import open_database
from repack.errors import IntegrityError, SpaceError, UsageError
from repack.fs import atomic
from tests.advisories.databases import entry, write_zip

ONE = entry("torch", "GHSA-1", {"introduced": "0"}, {"fixed": "2.9"}, aliases=["CVE-2026-1"])
NPM = {**entry("left-pad", "GHSA-2", {"introduced": "0"})}
NPM["affected"] = [{"package": {"ecosystem": "npm", "name": "torch"}}]


def test_a_zip_a_folder_and_a_file_say_the_same(tmp_path):
    zipped = write_zip(tmp_path / "ö s v.zip", ONE, NPM)
    folder = tmp_path / "osv" / "PyPI"
    folder.mkdir(parents=True)
    for one in (ONE, NPM):
        (folder / f"{one['id']}.json").write_text(json.dumps(one))
    file = tmp_path / "osv.json"
    file.write_text(json.dumps([ONE, NPM]))
    said = []
    for source in (zipped, folder.parent, file):
        opened = open_database(source, tmp_path / "cache")
        assert (opened.info.entries, opened.info.date) == (2, "2026-11-28T10:00:00Z")
        said.append(opened.about([("pypi", "torch"), ("pypi", "left-pad")]))
        assert opened.called("cve-2026-1") == said[-1]
        assert opened.called("GHSA-9") == ()
    assert said[0] == said[1] == said[2]
    assert [one.id for one in said[0]] == ["GHSA-1"]


def test_an_index_is_made_once_for_a_content(tmp_path, monkeypatch):
    source = write_zip(tmp_path / "osv.zip", ONE)
    first = open_database(source, tmp_path / "cache")
    monkeypatch.setattr(database, "parse_entry", None)
    moved = source.rename(tmp_path / "other.zip")
    again = open_database(moved, tmp_path / "cache")
    assert (again.info.sha256, again.index) == (first.info.sha256, first.index)
    assert again.info.source == "other.zip"
    monkeypatch.undo()
    write_zip(moved, ONE, NPM)
    assert open_database(moved, tmp_path / "cache").info.entries == 2


def test_a_changed_folder_is_read_again(tmp_path):
    folder = tmp_path / "osv"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(ONE))
    before = open_database(folder, tmp_path / "cache").info
    (folder / "b.json").write_text(json.dumps(NPM))
    after = open_database(folder, tmp_path / "cache").info
    assert (before.entries, after.entries) == (1, 2)
    assert before.sha256 != after.sha256


def test_a_damaged_index_is_made_again(tmp_path):
    source = write_zip(tmp_path / "osv.zip", ONE)
    index = open_database(source, tmp_path / "cache").index
    index.write_bytes(index.read_bytes()[:3000])
    assert open_database(source, tmp_path / "cache").about([("pypi", "torch")])
    index.write_bytes(b"no index")
    assert open_database(source, tmp_path / "cache").called("GHSA-1")


def refuse(source, tmp_path, *words, kind=IntegrityError):
    with pytest.raises(kind) as caught:
        open_database(source, tmp_path / "cache")
    text = caught.value.text()
    for word in (source.name, *words):
        assert word in text
    left = list((tmp_path / "cache").glob("**/*")) if (tmp_path / "cache").exists() else []
    assert left == []


def test_what_is_no_database(tmp_path):
    refuse(tmp_path / "none.zip", tmp_path, "no database", kind=UsageError)
    text = tmp_path / "text.zip"
    text.write_text("hello")
    refuse(text, tmp_path, "neither a zip nor JSON")
    refuse(write_zip(tmp_path / "empty.zip"), tmp_path, "no entry")
    (tmp_path / "folder").mkdir()
    refuse(tmp_path / "folder", tmp_path, "no entry")
    refuse(write_zip(tmp_path / "odd.zip", ONE, {"id": "B-2"}), tmp_path, "B-2.json")
    bad = entry("x", "C-3", severity=[{"type": "CVSS_V3", "score": "enormous"}])
    refuse(write_zip(tmp_path / "grave.zip", ONE, bad), tmp_path, "C-3.json", "enormous")


def test_half_a_zip(tmp_path):
    many = [entry("torch", f"GHSA-{n}", {"introduced": os.urandom(8).hex()}) for n in range(50)]
    whole = write_zip(tmp_path / "osv.zip", *many)
    data = whole.read_bytes()
    for part in (5, len(data) // 2, len(data) - 30):
        whole.write_bytes(data[:part])
        refuse(whole, tmp_path, "no whole zip")
    place = data.index(b"GHSA-0.json") + 60  # inside of what is compressed
    whole.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
    refuse(whole, tmp_path)


def test_ten_gigabytes_in_a_zip(tmp_path):
    """A member of 10 GB; then one that lies about it. Neither is ever unpacked."""
    bomb = tmp_path / "bomb.zip"
    zeros = bytes(1 << 20)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("A-1.json", json.dumps(ONE))
        with archive.open("big.json", "w", force_zip64=True) as member:
            for _ in range(17):
                member.write(zeros)
    refuse(bomb, tmp_path, "big.json", "too large")
    data = bytearray(bomb.read_bytes())
    # Both headers say that it is small.
    size = (17 << 20).to_bytes(4, "little")
    at = data.rindex(size)
    data[at : at + 4] = (1000).to_bytes(4, "little")
    bomb.write_bytes(data)
    refuse(bomb, tmp_path, "big.json")


def test_too_much_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_MAX_TOTAL", 100)
    refuse(write_zip(tmp_path / "osv.zip", ONE), tmp_path, "too large")


def test_links_in_a_folder_are_not_followed(tmp_path):
    folder = tmp_path / "osv"
    folder.mkdir()
    (tmp_path / "secret.json").write_text(json.dumps(ONE))
    (folder / "a.json").symlink_to(tmp_path / "secret.json")
    refuse(folder, tmp_path, "no entry")


def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    """SQLite's own word for a full disk becomes repack's, and nothing is left behind."""
    source = write_zip(tmp_path / "osv.zip", *(
        entry("torch", f"GHSA-{n}", {"introduced": os.urandom(4000).hex()}) for n in range(50)
    ))  # fmt: skip
    connect = database.sqlite3.connect

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 10")
        return connection

    monkeypatch.setattr(database.sqlite3, "connect", small)
    with pytest.raises(SpaceError):
        open_database(source, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_build_left_is_removed_by_a_later_one(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    old, young = (cache / f"{atomic.TEMP_PREFIX}{name}.sqlite" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    open_database(write_zip(tmp_path / "osv.zip", ONE), cache)
    assert not old.exists()
    assert young.exists()
