"""A history that cannot be read, and clocks of files that cannot be set: a code and no traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from repack.cli.main import run
from repack.fs import beneath
from tests.world import World


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    """A label with two releases, signed; never write into it."""
    world = World(tmp_path_factory.mktemp("vendor ü"), {"signing": {"keys": "keys/bank"}})
    with contextlib.chdir(world.root):
        world.build()
        world.build("--update", packages=["tiny-data"])
    return world


@pytest.fixture
def world(vendor, tmp_path, monkeypatch):
    root = shutil.copytree(vendor.root, tmp_path / "w", symlinks=True)
    monkeypatch.chdir(root)
    world = World.__new__(World)
    world.__dict__ |= vendor.__dict__
    for name in ("root", "channels", "labels", "store"):
        setattr(world, name, root / getattr(vendor, name).relative_to(vendor.root))
    return world


def verbs(world):
    """Every command that looks into the history."""
    channels = ["--channels-dir", str(world.channels)]
    store = ["--store", str(world.store)]
    labels = ["--labels-dir", str(world.labels)]
    dest = [str(world.root / "stick")]
    yield ["history", "bank", *channels]
    yield ["restore", "bank", "1", *channels, *store]
    yield ["medium", "bank", *dest, "--release", "1", *channels, *store, *labels]
    yield ["promote", "bank", "--release", "1", "--tag", "t", "--keys", "keys/bank", *channels]
    yield ["diff", "bank", *channels, *store, *labels]
    yield ["report", "bank", *channels]
    yield ["labels", *channels, *labels]
    yield ["store", "gc", *store]
    yield ["store", "verify", *store]
    yield ["label", "bank", *channels, *store, *labels]
    yield ["history", "bank", *channels]


def run_all(world):
    """The exit codes by command; none may be unexpected."""
    codes = {}
    for words in verbs(world):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(words)
        said = err.getvalue()
        assert "Traceback" not in said, f"{words}: {said}"
        assert code != 1, f"{words}: {said}"
        assert code == 0 or "error: " in said or "hint" in said, f"{words}: {said}"
        codes[" ".join(words[:2])] = code
    return codes


def history(world):
    return world.channels / ".history/bank"


def instead(world, path, put):
    """Put something else at ``path`` in the history."""
    site = history(world) / path
    if site.is_dir():
        shutil.rmtree(site)
    else:
        site.unlink()
    put(site)


@pytest.mark.parametrize("path", [".", "1", "2", "1/repack", "1/repack/manifest.json"])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "loop", "pipe"])
def test_a_history_of_other_things(world, path, kind):
    puts = {
        "file": lambda site: site.write_bytes(b"\xff\x00"),
        "folder": lambda site: site.mkdir(),
        "link": lambda site: site.symlink_to(world.root),
        "loop": lambda site: site.symlink_to(site),
        "pipe": os.mkfifo if hasattr(os, "mkfifo") else pytest.skip,
    }
    instead(world, path, puts[kind])
    codes = run_all(world)
    assert codes["restore bank"] in ({0, 2, 6} if path == "2" else {2, 6}), codes


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b"\xff", b'{"id": 1}', b"[" * 100_000])
def test_a_history_that_was_cut_off(world, data):
    for name in ("manifest.json", "integrity.json"):
        (history(world) / "1/repack" / name).write_bytes(data)
    codes = run_all(world)
    assert codes["restore bank"] == 6, codes


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
@pytest.mark.parametrize("path", [".", "1", "1/repack", "1/repack/manifest.json"])
def test_a_history_that_may_not_be_read(world, monkeypatch, path):
    """By what the system answers: root could read it all the same."""
    closed = str((history(world) / path).absolute())
    real, real_scan = beneath.open_handle, beneath.scan

    def refuse(asked):
        if str(Path(asked).absolute()).startswith(closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(asked))

    def opened(path, *arguments, **options):
        refuse(path)
        return real(path, *arguments, **options)

    def scanned(path, *arguments, **options):
        refuse(path)
        return real_scan(path, *arguments, **options)

    monkeypatch.setattr(beneath, "open_handle", opened)
    monkeypatch.setattr(beneath, "scan", scanned)
    codes = run_all(world)
    assert codes["restore bank"] == 2, codes


def test_times_that_may_not_be_set_hold_nothing_up(tmp_path, monkeypatch):
    """As on a share, or where the file is another user's."""
    asked = []

    def refused(path, *_arguments, **_options):
        asked.append(path)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "utime", refused)
    world = World(tmp_path)
    for packages in (["tiny-app"], ["tiny-data"]):
        world.build(packages=packages)
        for words in (
            ["sync", "bank", "share", "--channels-dir", str(world.channels), "--with", "own"],
            [
                *("medium", "bank", "stick", "--channels-dir", str(world.channels)),
                *("--labels-dir", str(world.labels), "--store", str(world.store)),
            ],
            ["verify", "share"],
            ["verify", "stick/bank"],
            ["verify", str(world.channel)],
        ):
            assert run(words) == 0, words
    assert world.repack("restore", "bank", "1") == 0
    assert run(["store", "verify", "--store", str(world.store)]) == 0
    assert len(asked) > 5
