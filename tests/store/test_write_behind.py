"""Archives that are flushed beside other work: what counts as hashed, and when."""

from __future__ import annotations

import hashlib
import os
import sys

import pytest

from repack.errors import PlaceError
from repack.fs.digests import digest_stream
from repack.names import Digest
from repack.store.partial import Partial, verified_mtime
from repack.store.store import Store
from repack.store.write_behind import flushing

DATA = os.urandom(100_000)
SHA = Digest(hashlib.sha256(DATA).hexdigest())
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="flushed at once there")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def arrived(store, data=DATA):
    """An archive whose last byte has come."""
    sha = Digest(hashlib.sha256(data).hexdigest())
    store.partials.mkdir(parents=True, exist_ok=True)
    partial = Partial.opened(store.partials / sha, sha, len(data))
    partial.write(memoryview(data))
    return partial


def test_all_is_marked_as_hashed_when_the_block_has_ended(store):
    contents = [os.urandom(1000 + n) for n in range(20)]
    with flushing(store) as flushed:
        for data in contents:
            partial = arrived(store, data)
            flushed.commit(partial)
            partial.close()
    for data in contents:
        assert store.is_marked(Digest(hashlib.sha256(data).hexdigest()), len(data))


def test_what_was_not_flushed_is_hashed_again_and_then_counts(store):
    partial = arrived(store)
    store.commit(partial, flush=False)
    partial.close()

    assert not store.is_marked(SHA, len(DATA))
    assert store.contains(SHA, len(DATA))
    assert store.is_marked(SHA, len(DATA))


def test_what_a_power_cut_spoilt_is_dropped(store):
    partial = arrived(store)
    kept = store.commit(partial, flush=False)
    partial.close()
    kept.chmod(0o644)
    kept.write_bytes(bytes(len(DATA)))  # the name and size are on the disk, the bytes are not

    assert not store.contains(SHA, len(DATA))
    assert not kept.exists()


def test_one_that_another_builder_marks_while_we_hash_it_stays(store, monkeypatch):
    partial = arrived(store)
    kept = store.commit(partial, flush=False)
    partial.close()

    def marked_meanwhile(stream):
        found = digest_stream(stream)
        store.flush(SHA)
        return found

    monkeypatch.setattr("repack.fs.digests.digest_stream", marked_meanwhile)
    assert store.verify(SHA) == len(DATA)
    assert kept.stat().st_mtime_ns == verified_mtime(SHA)


def test_a_failed_flush_is_not_kept_quiet(store, monkeypatch):
    def full(_handle):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", full)
    partial = arrived(store)
    with pytest.raises(PlaceError, match="input/output error"), flushing(store) as flushed:
        flushed.commit(partial)
    partial.close()
    assert not store.is_marked(SHA, len(DATA))
