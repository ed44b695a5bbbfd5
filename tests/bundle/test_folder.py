from __future__ import annotations

import hashlib
import os
import socket
import time
from pathlib import Path

import pytest

from repack.bundle.folder import digests, scan_folder
from repack.errors import FolderError, PlaceError
from tests import forking

OLD = time.time() - 100


def make(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        os.utime(folder / name, (OLD, OLD))
    return folder


@pytest.fixture
def settled(monkeypatch):
    """Make files look old enough for their stamps to be trusted."""
    now = time.time_ns
    monkeypatch.setattr("repack.bundle.folder.time.time_ns", lambda: now() + 10_000_000_000)


def test_lists_plain_files_sorted_and_leaves_litter(tmp_path):
    make(tmp_path / "m", b=b"2", a=b"1")
    (tmp_path / "m/sub/empty").mkdir(parents=True)
    (tmp_path / "m/sub/c").write_bytes(b"3")
    for litter in (".DS_Store", "._a", "sub/Thumbs.db"):
        (tmp_path / "m" / litter).write_bytes(b"x")
    tree = scan_folder(tmp_path / "m")
    assert [file.path for file in tree.files] == ["a", "b", "sub/c"]
    assert tree.litter == (".DS_Store", "._a", "sub/Thumbs.db")


@pytest.mark.skipif(os.name == "nt", reason="makes what Windows cannot hold")
def test_everything_odd_is_listed_at_once(tmp_path, monkeypatch):
    folder = make(tmp_path / "m", fine=b"1", aux=b"2", Twin=b"3", twin=b"4")
    (folder / "link").symlink_to("fine")
    (folder / "dirlink").symlink_to(tmp_path)
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
    (folder / "dot.").write_bytes(b"5")
    (folder / ("n" * 201)).write_bytes(b"6")
    (Path(os.fsdecode(b"bad\xff"))).write_bytes(b"7")
    with pytest.raises(FolderError) as caught:
        scan_folder(folder)
    found = {problem.where: problem.what for problem in caught.value.problems}
    assert set(found) == {
        "aux",
        "twin",
        "link",
        "dirlink",
        "dangling",
        "pipe",
        "sock",
        "dot.",
        "n" * 201,
        "bad\\udcff",
    }
    assert found["dirlink"] == "is a symbolic link"
    assert all(name in caught.value.text() for name in found)
    assert len(caught.value.to_json()["problems"]) == 10


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root makes devices")
def test_devices(tmp_path):
    folder = make(tmp_path / "m", fine=b"1")
    os.mknod(folder / "null", 0o20666, os.makedev(1, 3))
    with pytest.raises(FolderError, match="is a device"):
        scan_folder(folder)


def test_unreadable_files_and_folders(tmp_path):
    folder = make(tmp_path / "m", a=b"1", b=b"2")
    (folder / "sub").mkdir()
    (folder / "a").chmod(0)
    (folder / "sub").chmod(0)

    def scan():
        if os.geteuid() == 0:  # root may read everything
            tmp_path.chmod(0o755)
            for parent in tmp_path.parents[:3]:
                parent.chmod(0o755)
            os.setuid(65534)
        try:
            scan_folder(folder)
        except FolderError as error:
            return len(error.problems)
        return 99

    assert forking.run(scan) == 2
    (folder / "sub").chmod(0o700)  # pytest removes it one day


def test_no_such_folder(tmp_path):
    with pytest.raises(PlaceError):
        scan_folder(tmp_path / "none")


def test_digests(tmp_path):
    tree = scan_folder(make(tmp_path / "m", a=b"1", b=b"2"))
    assert [one.digest for one in digests(tree, "sha384")] == [
        hashlib.sha384(data).hexdigest() for data in (b"1", b"2")
    ]


def test_file_gone_while_hashing_is_named(tmp_path):
    tree = scan_folder(make(tmp_path / "m", a=b"1", b=b"2"))
    (tmp_path / "m/b").unlink()
    with pytest.raises(FolderError) as caught:
        digests(tree, "sha256")
    assert [problem.where for problem in caught.value.problems] == ["b"]


def reads(folder: Path, stamps: Path, monkeypatch) -> list[str]:
    """Hash a folder and say which files were read for it."""
    seen: list[str] = []
    real = hashlib.new
    from repack.bundle import folder as module

    hash_one = module._hash

    def spy(path, algorithm, advance):
        seen.append(path.name)
        return hash_one(path, algorithm, advance)

    monkeypatch.setattr(module, "_hash", spy)
    got = digests(scan_folder(folder), "sha256", stamps)
    monkeypatch.setattr(module, "_hash", hash_one)
    assert [one.digest for one in got] == [
        real("sha256", one.file.source.read_bytes()).hexdigest() for one in got
    ]
    return sorted(seen)


@pytest.mark.usefixtures("settled")
def test_unchanged_files_are_not_read_again(tmp_path, monkeypatch):
    folder, stamps = make(tmp_path / "m", a=b"1", b=b"2"), tmp_path / "stamps.json"
    assert reads(folder, stamps, monkeypatch) == ["a", "b"]
    assert reads(folder, stamps, monkeypatch) == []
    make(folder, b=b"3")  # same size, same mtime
    assert reads(folder, stamps, monkeypatch) == ["b"]
    (folder / "a").rename(folder / "c")
    assert reads(folder, stamps, monkeypatch) == ["c"]


def test_files_touched_just_now_are_read_again(tmp_path, monkeypatch):
    folder, stamps = make(tmp_path / "m", a=b"1"), tmp_path / "stamps.json"
    assert reads(folder, stamps, monkeypatch) == ["a"]
    assert reads(folder, stamps, monkeypatch) == ["a"]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "junk", [b"", b"null", b"[]", b'{"of": 1}', b'{"files": {"a": [1]}}', b"\xff", b"[" * 9999]
)
def test_spoilt_stamps_say_nothing(tmp_path, monkeypatch, junk):
    folder, stamps = make(tmp_path / "m", a=b"1"), tmp_path / "stamps.json"
    stamps.write_bytes(junk)
    assert reads(folder, stamps, monkeypatch) == ["a"]
    assert reads(folder, stamps, monkeypatch) == []


@pytest.mark.usefixtures("settled")
def test_stamps_of_another_folder_say_nothing(tmp_path, monkeypatch):
    stamps = tmp_path / "stamps.json"
    reads(make(tmp_path / "m", a=b"1"), stamps, monkeypatch)
    assert reads(make(tmp_path / "n", a=b"1"), stamps, monkeypatch) == ["a"]
