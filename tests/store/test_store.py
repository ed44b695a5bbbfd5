"""The store: what it takes in, what it trusts, what it throws out."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.errors import IntegrityError, PlaceError
from repack.names import Digest
from repack.store.gc import DAY, sweep, verify
from repack.store.partial import Partial, last_touched, verified_mtime
from repack.store.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def source(tmp_path):
    """Makes files outside the store."""

    def make(data: bytes, name="file"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return make


def digest(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def backdate(store, monkeypatch, seconds):
    """Let the clock of the store's modules run ahead, since nobody can set a change time."""
    later = time.time() + seconds
    monkeypatch.setattr("time.time", lambda: later)


def test_nothing_is_made_by_looking(store):
    assert not store.contains(digest(b"x"), 1)
    assert store.list() == ()
    assert store.partial_size(digest(b"x")) == 0
    assert verify(store).files == 0
    assert sweep(store, set()).files == 0
    assert not store.root.exists()


def test_admitted_files_are_copies(store, source):
    data = os.urandom(3_000_000)
    path = source(data)
    kept = store.add(path, digest(data))
    assert kept == store.path(digest(data))
    assert kept.read_bytes() == path.read_bytes() == data
    assert not kept.samefile(path)
    assert kept.stat().st_mode & 0o777 == 0o644
    assert store.contains(digest(data), len(data))
    assert store.add(path) == kept


def test_a_moved_file_is_gone(store, source):
    path = source(b"own")
    assert store.add(path, how="move").read_bytes() == b"own"
    assert not path.exists()


def test_another_file_is_not_admitted(store, source):
    with pytest.raises(IntegrityError):
        store.add(source(b"one"), digest(b"other"))
    with pytest.raises(PlaceError):
        store.add(source(b"one").with_name("gone"))
    assert store.list() == ()


def test_a_wrong_size_is_not_held_but_not_dropped(store, source):
    path = store.add(source(b"abc"))
    assert not store.contains(digest(b"abc"), 4)
    assert path.exists()


def test_what_was_hashed_is_not_read_again(store, source):
    path = store.add(source(b"abc"))
    status = path.stat()
    assert status.st_mtime_ns == verified_mtime(digest(b"abc"))
    # The same size and time and other bytes: only a full check reads it.
    path.chmod(0o644)
    path.write_bytes(b"xyz")
    os.utime(path, ns=(0, status.st_mtime_ns))
    assert store.contains(digest(b"abc"), 3)
    verdict = verify(store)
    assert [entry.sha256 for entry in verdict.damaged] == [digest(b"abc")]
    assert verdict.exit_code == 6
    assert not store.contains(digest(b"abc"), 3)
    assert verify(store).exit_code == 0


def test_a_changed_file_is_seen_and_dropped(store, source):
    path = store.add(source(b"abc"))
    path.chmod(0o644)
    path.write_bytes(b"xyz")
    assert not store.contains(digest(b"abc"), 3)
    assert not path.exists()


def test_a_touched_file_is_hashed_and_marked_anew(store, source):
    path = store.add(source(b"abc"))
    os.utime(path)
    assert not store.is_marked(digest(b"abc"), 3)
    assert store.contains(digest(b"abc"), 3)
    assert store.is_marked(digest(b"abc"), 3)


def test_a_hard_link_carries_the_mark(store, source, tmp_path):
    path = store.add(source(b"abc"))
    (tmp_path / "channel.conda").hardlink_to(path)
    assert store.list()[0].links == 1
    assert (tmp_path / "channel.conda").stat().st_mtime_ns == verified_mtime(digest(b"abc"))


@given(st.binary(max_size=50))
def test_stamps_are_even_seconds_of_the_past(data):
    seconds, rest = divmod(verified_mtime(digest(data)), 1_000_000_000)
    assert rest == seconds % 2 == 0
    assert 946_684_800 <= seconds < 1_500_000_000


def test_private_repodata(store):
    folder = store.repodata_cache
    if sys.platform != "win32":
        folder.chmod(0o755)
        assert store.repodata_cache.stat().st_mode & 0o777 == 0o700
    assert store.package_cache.parent == folder.parent == store.root


def test_a_place_that_is_none(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PlaceError):
        Store(tmp_path / "file" / "store").prepare()


# Partial files


def opened(store, data, size=None):
    store.prepare()
    path = store.partials / digest(data)
    partial = Partial.opened(path, digest(data), len(data) if size is None else size)
    assert partial is not None
    return partial


def test_one_writer_at_a_time(store):
    first = opened(store, b"abc")
    assert Partial.opened(first.path, first.sha256, 3) is None
    first.close()
    second = opened(store, b"abc")
    second.close()
    assert not second.path.exists(), "nothing came, nothing stays"


def test_a_validator_outlives_its_writer_for_large_files_only(store):
    big, small = bytes(2_000_000), b"small"
    for data in (big, small):
        partial = opened(store, data)
        partial.restart('"v1"')
        partial.write(memoryview(data)[:3])
        assert partial.validator == '"v1"'
        partial.close()
    again = opened(store, big)
    assert (again.offset, again.validator) == (3, '"v1"')
    again.close()
    again = opened(store, small)
    assert (again.offset, again.validator) == (0, None)
    again.close()


@pytest.mark.parametrize("note", [b"", b"a\r\nX-Evil: 1", b" padded ", b"\x00"])
def test_a_torn_validator_starts_anew(store, note):
    data = bytes(2_000_000)
    partial = opened(store, data)
    partial.restart('"v1"')
    partial.write(memoryview(data)[:3])
    partial.close()
    partial._note.write_bytes(note)
    again = opened(store, data)
    assert (again.offset, again.validator) == (0, None)
    assert not again._note.exists()
    again.close()


def test_more_than_there_may_be(store):
    partial = opened(store, b"abc")
    with pytest.raises(IntegrityError, match="longer"):
        partial.write(memoryview(b"abcd"))
    partial.close()
    partial.path.write_bytes(b"abcdef")
    again = opened(store, b"abc")
    assert again.offset == 0
    again.close()


@pytest.mark.parametrize("data", [b"ab", b"abd"])
def test_only_the_right_bytes_settle(store, data):
    partial = opened(store, b"abc")
    partial.write(memoryview(data))
    with pytest.raises(IntegrityError):
        partial.commit(store.path(partial.sha256))
    partial.close()
    assert not store.path(partial.sha256).exists()


def test_a_folder_that_went_missing_is_made(store):
    partial = opened(store, b"abc")
    target = store.path(partial.sha256)
    target.parent.rmdir()
    partial.write(memoryview(b"abc"))
    partial.commit(target)
    partial.close()
    assert target.read_bytes() == b"abc"


def test_many_admit_one_file(store, source):
    data = os.urandom(500_000)
    path = source(data)
    threads = [threading.Thread(target=store.add, args=(path,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.size for entry in store.list()] == [len(data)]
    assert not list(store.partials.iterdir())


def test_a_file_system_without_locks_is_an_error(store, monkeypatch):
    store.prepare()

    def no_locks(*args):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("repack.fs.locks.try_lock", no_locks)
    with pytest.raises(PlaceError, match="no locks"):
        Partial.opened(store.partials / digest(b"x"), digest(b"x"), 1)


# Sweeping


def test_a_sweep_keeps_what_is_named_linked_or_young(store, source, tmp_path, monkeypatch):
    named, linked, old = (store.add(source(data)) for data in (b"named", b"linked", b"old"))
    (tmp_path / "channel.conda").hardlink_to(linked)
    assert sweep(store, {digest(b"named")}).files == 0
    backdate(store, monkeypatch, DAY + 60)
    swept = sweep(store, {digest(b"named")})
    assert (swept.files, swept.bytes, swept.kept) == (1, 3, 2)
    assert named.exists()
    assert linked.exists()
    assert not old.exists()


def test_use_keeps_a_file_young(store, source, monkeypatch):
    path = store.add(source(b"old"))
    before = path.stat()
    time.sleep(0.02)
    backdate(store, monkeypatch, 7200)
    monkeypatch.setattr("time.time_ns", lambda: before.st_atime_ns + 1)
    assert store.contains(digest(b"old"), 3)
    after = path.stat()
    assert last_touched(after) > last_touched(before)
    assert after.st_mtime_ns == before.st_mtime_ns


def test_a_sweep_takes_facts_along(store, source, monkeypatch):
    for data in (b"kept", b"old"):
        store.add(source(data))
        facts = store.facts_path(digest(data))
        facts.parent.mkdir(parents=True, exist_ok=True)
        facts.write_text("{}")
    backdate(store, monkeypatch, DAY + 60)
    sweep(store, {digest(b"kept")})
    assert store.facts_path(digest(b"kept")).exists()
    assert not store.facts_path(digest(b"old")).exists()


def test_a_sweep_takes_abandoned_downloads(store, monkeypatch):
    abandoned, running = opened(store, bytes(2_000_000)), opened(store, b"running")
    for partial in (abandoned, running):
        partial.restart('"v"')
        partial.write(memoryview(b"\0" if partial is abandoned else b"r"))
    abandoned.close()
    (store.partials / ".trash-1-x").mkdir()
    assert sweep(store, set()).files == 0
    assert not (store.partials / ".trash-1-x").exists()
    backdate(store, monkeypatch, DAY + 60)
    assert sweep(store, set()).files == 1
    assert [path.name for path in store.partials.iterdir()] == [running.path.name]
    running.close()


def extracted(store, name, data):
    """A package as rattler's cache holds it."""
    folder = store.package_cache / name
    (folder / "info").mkdir(parents=True)
    (folder / "info" / "index.json").write_text("{}")
    lock = store.package_cache / f"{name}.lock"
    lock.write_bytes(bytes(8) + bytes.fromhex(digest(data)))
    return folder


def test_a_sweep_takes_extracted_packages_nobody_names(store, monkeypatch):
    store.prepare()
    kept, old = extracted(store, "kept-1-0", b"kept"), extracted(store, "old-1-0", b"old")
    odd = extracted(store, "odd-1-0", b"odd")
    (store.package_cache / "odd-1-0.lock").write_bytes(b"another format")
    (store.package_cache / ".cache.lock").write_bytes(b"")
    assert sweep(store, {digest(b"kept")}).files == 0
    backdate(store, monkeypatch, DAY + 60)
    assert sweep(store, {digest(b"kept")}).files == 1
    assert kept.exists()
    assert odd.exists()
    assert not old.exists()
    assert not list(store.partials.iterdir())


def test_an_extracted_package_in_use_stays(store, monkeypatch):
    from repack.fs import locks

    store.prepare()
    used = extracted(store, "used-1-0", b"used")
    backdate(store, monkeypatch, DAY + 60)
    with (store.package_cache / "used-1-0.lock").open("r+b") as stream:
        assert locks.try_lock(stream)
        assert sweep(store, set()).files == 0
    assert used.exists()
