"""What is too large, too many, too deep or too slow is refused, and not waited or swapped for."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time

import pytest

from repack.channel import manifest, metadata_folder
from repack.codec import sha256sums
from repack.codec.canonical import MAX_DEPTH, loads
from repack.errors import IntegrityError, PlaceError
from repack.fs.walk import read_or_none
from repack.medium import folder, top
from repack.upstream.client import Timeouts, Upstream
from repack.upstream.errors import TransientError
from repack.upstream.response import SlownessLimit
from tests import channels


@pytest.fixture
def trickle():
    """A server that sends a byte every hundredth of a second, and says that there are many."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not stopped.wait(0.01):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a-1-0.conda"
        stopped.set()
        listener.close()


def test_a_download_that_trickles_is_a_failed_try(trickle):
    timeouts = Timeouts(slow_seconds=0.5, slow_bytes=10_000)
    upstream = Upstream(timeouts=timeouts)
    with upstream.open(upstream.locations(trickle)[0]) as response:
        assert set(response.read(1 << 20)) == {ord("x")}  # what came is not lost
        with pytest.raises(TransientError, match="too slowly"):
            response.read(1 << 20)
    upstream.close()


def test_a_minute_below_the_rate_is_too_slow_and_no_pause_of_the_reader():
    timeouts = Timeouts()
    limit = SlownessLimit(timeouts.slow_seconds, timeouts.slow_bytes)
    for _ in range(100):
        limit.note(64 << 10, 59.9, "a place")
    limit = SlownessLimit(60, 64 << 10)
    limit.note(1, 30, "a place")
    with pytest.raises(TransientError, match="too slowly"):
        limit.note(1, 30, "a place")


def sparse(path, size):
    with path.open("wb") as stream:
        stream.truncate(size)


def test_metadata_is_bounded_in_size_and_number(tmp_path, monkeypatch):
    sparse(tmp_path / "timestamp.json", 5_000_001)
    with pytest.raises(IntegrityError, match="too large"):
        metadata_folder.read_folder(tmp_path)
    monkeypatch.setattr(metadata_folder, "_MAX_FILES", 3)
    (tmp_path / "timestamp.json").unlink()
    for number in range(4):
        (tmp_path / f"{number}.root.json").touch()
    with pytest.raises(IntegrityError, match="too many files"):
        metadata_folder.read_folder(tmp_path)


def test_lists_and_checklists_are_bounded(tmp_path):
    sparse(tmp_path / "SHA256SUMS", sha256sums.MAX_SUMS + 1)
    with pytest.raises(IntegrityError, match="too large"):
        folder.read_sums(tmp_path)
    sparse(tmp_path / "index.html", 1 << 40)  # only its beginning is read
    began = time.process_time()
    assert not top.is_medium(tmp_path)
    assert time.process_time() - began < 5


def test_other_metadata_is_bounded(tmp_path):
    sparse(tmp_path / "file", (1 << 30) + 1)
    with pytest.raises(IntegrityError, match="too large"):
        read_or_none(tmp_path / "file")
    with pytest.raises((PlaceError, IntegrityError)):
        read_or_none(tmp_path)


def test_a_manifest_does_not_list_without_end(tmp_path, monkeypatch):
    channel = channels.build(tmp_path / "halkbank")
    data = (channel / "repack/manifest.json").read_bytes()
    document = json.loads(data)
    row = document["artifacts"][0]
    document["artifacts"] = [
        {**row, "path": f"noarch/p-{number}-0.conda", "sha256": hashlib.sha256(b"").hexdigest()}
        for number in range(manifest.MAX_ARTIFACTS + 1)
    ]
    with pytest.raises(IntegrityError, match="too many files"):
        manifest.parse(json.dumps(document).encode(), "a place")


def test_json_is_not_read_however_deep():
    for deep in (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), b'{"a":' * 100_000):
        with pytest.raises(IntegrityError, match="deeply"):
            loads(deep, "a place", 1 << 20)
