"""Fetching from real servers that behave as badly as networks do."""

from __future__ import annotations

import _thread
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from repack.conda.record import Record
from repack.errors import FetchError, IntegrityError, SpaceError
from repack.progress import SILENT
from repack.store.fetch import fetch
from repack.store.store import Store
from repack.upstream.client import RetryPolicy, Timeouts, Upstream
from repack.upstream.network import Network
from tests import servers

BIG = 3_000_000
QUICK = RetryPolicy(tries=3, first=0.01, longest=1.0)


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def record(site_url: str, fn: str, data: bytes, **other) -> Record:
    raw = {
        "name": fn.split("-", maxsplit=1)[0],
        "version": "1.0",
        "build": "0",
        "build_number": 0,
        "subdir": "noarch",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }
    return Record.of({**raw, **other}, fn, f"{site_url}/{fn}")


@pytest.fixture
def site():
    with servers.serving(servers.Site()) as site:
        yield site


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def upstream():
    upstream = Upstream(retry_policy=QUICK, timeouts=Timeouts(connect=2.0, read=0.5))
    yield upstream
    upstream.close()


def put(site, name="a", size=BIG, seed=1) -> Record:
    data = content(seed, size)
    site.files[f"/{name}-1.0-0.conda"] = data
    return record(site.url, f"{name}-1.0-0.conda", data)


def held(store, wanted: Record) -> bool:
    return hashlib.sha256(store.path(wanted.sha256).read_bytes()).hexdigest() == wanted.sha256


class Counting:
    """Adds up what a step says of its progress."""

    def __init__(self):
        self.total = self.done = 0

    def phase(self, what, total, unit):
        self.total = total
        return self

    def __enter__(self):
        return self._add

    def __exit__(self, *fault):
        return None

    def _add(self, count, _name=""):
        self.done += count

    def note(self, text):
        raise AssertionError(text)


def test_many_arrive_once(site, store, upstream):
    records = [put(site, f"p{n}", size=1000 * n + 1, seed=n) for n in range(30)]
    progress = Counting()
    fetched = fetch([*records, records[0]], store, upstream, progress)
    assert (fetched.files, fetched.bytes) == (30, sum(r.size for r in records))
    assert progress.done == progress.total == fetched.bytes
    assert all(held(store, r) for r in records)
    assert store.path(records[0].sha256).stat().st_mode & 0o777 == 0o644
    assert site.connections <= upstream.connections
    assert not list(store.partials.iterdir())

    again = fetch(records, store, upstream)
    assert (again.files, again.bytes, len(site.asked)) == (0, 0, 30)


def test_more_connections_are_opened_while_the_processors_idle(site, store, upstream):
    records = [put(site, f"p{n}", size=1000, seed=n) for n in range(40)]
    for one in records:
        site.always[f"/{one.fn}"] = lambda _handler, _data: time.sleep(0.2)
    fetch(records, store, upstream)
    assert site.connections == upstream.connections == 8


def test_a_second_label_asks_only_for_what_is_new(site, store, upstream):
    first = [put(site, f"p{n}", size=5000, seed=n) for n in range(5)]
    fetch(first, store, upstream)
    site.asked.clear()
    new = put(site, "new", size=5000, seed=77)
    assert fetch([*first, new], store, upstream).files == 1
    assert site.paths() == ["/new-1.0-0.conda"]


@pytest.mark.parametrize(
    "misdeed",
    [
        servers.truncate(1_500_000),
        servers.truncate(1_500_000, rudely=True),
        servers.truncate(0),
        servers.reset,
        servers.status(500),
        servers.status(503, {"Retry-After": "0"}),
        servers.status(429, {"Retry-After": "Fri, 20 Nov 2026 12:00:00 GMT"}),
        servers.slow(1.0),
        servers.until_close(stop_after=2_000_000),
        servers.chunked(stop_after=2_000_000),
        servers.body(b"x" * BIG),
        servers.body(b"x" * (BIG + 1)),
        servers.body(b"<html>log in</html>", {"Content-Type": "text/html"}),
        lambda handler, data: servers.whole(handler, data[:-5]),
    ],
    ids=[
        "truncated",
        "reset-half-way",
        "truncated-at-once",
        "reset",
        "500",
        "503",
        "429",
        "stalled",
        "closed-early",
        "chunks-end-early",
        "wrong-bytes",
        "too-long",
        "login-page",
        "too-short",
    ],
)
def test_one_misdeed_is_survived(site, store, upstream, misdeed):
    wanted = put(site)
    site.once["/a-1.0-0.conda"] = [misdeed]
    progress = Counting()
    assert fetch([wanted], store, upstream, progress).files == 1
    assert held(store, wanted)
    assert progress.done == wanted.size
    assert not list(store.partials.iterdir())


@pytest.mark.parametrize("way", [servers.chunked(), servers.until_close()])
def test_an_answer_without_a_length_is_taken(site, store, upstream, way):
    wanted = put(site)
    site.always["/a-1.0-0.conda"] = way
    fetch([wanted], store, upstream)
    assert held(store, wanted)
    assert len(site.asked) == 1


def test_a_broken_download_goes_on_where_it_ended(site, store, upstream):
    wanted = put(site)
    site.once["/a-1.0-0.conda"] = [servers.truncate(1_200_000), servers.truncate(1_100_000)]
    fetched = fetch([wanted], store, upstream)
    assert held(store, wanted)
    assert fetched.bytes == wanted.size
    ranges = [request.headers.get("range") for request in site.asked]
    assert ranges == [None, "bytes=1200000-", "bytes=2300000-"]
    assert site.asked[1].headers["if-range"] == f'"{BIG}"'


def test_getting_on_does_not_use_up_patience(site, store, upstream):
    wanted = put(site, size=8_000_000)
    site.once["/a-1.0-0.conda"] = [servers.truncate(1_200_000)] * 6
    fetch([wanted], store, upstream)
    assert len(site.asked) == 7 > QUICK.tries


def test_halves_of_two_files_are_not_joined(site, store, upstream):
    wanted = put(site)
    path = "/a-1.0-0.conda"

    def replaced(handler, data):
        site.etags[path] = '"another"'
        return servers.truncate(1_200_000)(handler, data)

    site.etags[path] = '"first"'
    site.once[path] = [servers.truncate(1_200_000), replaced]
    site.once[path].insert(1, lambda handler, data: site.etags.update({path: '"x"'}))
    fetched = fetch([wanted], store, upstream)
    assert held(store, wanted)
    assert site.asked[1].headers["if-range"] == '"first"'
    assert fetched.bytes > wanted.size


@pytest.mark.parametrize(
    "misdeed",
    [
        servers.whole,
        servers.status(416),
        servers.status(206, {"Content-Range": f"bytes 7-{BIG - 1}/{BIG}"}),
    ],
    ids=["ignored", "refused", "another-part"],
)
def test_a_server_that_gets_ranges_wrong(site, store, upstream, misdeed):
    wanted = put(site)
    site.once["/a-1.0-0.conda"] = [servers.truncate(1_200_000), misdeed]
    fetch([wanted], store, upstream)
    assert held(store, wanted)


def test_a_part_without_its_place_is_refused(site, store, upstream):
    wanted = put(site)
    site.once["/a-1.0-0.conda"] = [servers.truncate(1_200_000), servers.status(206)]
    with pytest.raises(FetchError, match="without its place"):
        fetch([wanted], store, upstream)


def test_wrong_bytes_for_ever_are_refused(site, store, upstream):
    wanted = put(site)
    site.always["/a-1.0-0.conda"] = servers.body(b"x" * BIG)
    with pytest.raises(IntegrityError) as caught:
        fetch([wanted], store, upstream)
    assert caught.value.exit_code == 6
    assert "a-1.0-0.conda" in caught.value.what
    assert caught.value.expected == wanted.sha256
    assert len(site.asked) == 2, "once more from zero"
    assert not store.path(wanted.sha256).exists()


def test_a_leftover_of_wrong_bytes_is_started_anew(site, store, upstream):
    wanted = put(site)
    store.prepare()
    (store.partials / wanted.sha256).write_bytes(b"y" * BIG)
    fetch([wanted], store, upstream)
    assert held(store, wanted)
    assert site.asked[0].headers.get("range") is None


def test_a_leftover_that_is_whole_needs_no_network(site, store, upstream):
    wanted = put(site)
    store.prepare()
    (store.partials / wanted.sha256).write_bytes(site.files["/a-1.0-0.conda"])
    assert fetch([wanted], store, upstream).bytes == 0
    assert held(store, wanted)
    assert not site.asked


def test_the_next_mirror_is_asked(site, store):
    wanted = put(site)
    with servers.serving(servers.Site()) as first, servers.serving(servers.Site()) as second:
        first.files["/a-1.0-0.conda"] = b"x" * BIG
        mirrors = {site.url: (first.url, second.url, site.url)}
        upstream = Upstream(Network(mirrors=mirrors), retry_policy=QUICK)
        fetch([wanted], store, upstream)
        assert len(first.asked) == 2
        assert len(second.asked) == 1
    assert held(store, wanted)
    assert len(site.asked) == 1


def test_wrong_bytes_weigh_more_than_none(site, store):
    wanted = put(site)
    site.always["/a-1.0-0.conda"] = servers.body(b"x" * BIG)
    with servers.serving(servers.Site()) as empty:
        upstream = Upstream(Network(mirrors={site.url: (site.url, empty.url)}), retry_policy=QUICK)
        with pytest.raises(IntegrityError):
            fetch([wanted], store, upstream)


def test_two_places_of_one_archive_help_each_other(site, store, upstream):
    wanted = put(site)
    elsewhere = record(f"{site.url}/gone", wanted.fn, site.files["/a-1.0-0.conda"])
    fetch([elsewhere, wanted], store, upstream)
    assert held(store, wanted)


def test_all_that_is_missing_is_reported_and_the_rest_kept(site, store, upstream):
    good = [put(site, f"p{n}", size=2000, seed=n) for n in range(5)]
    bad = [record(site.url, f"gone{n}-1-0.conda", content(n, 10)) for n in range(12)]
    with pytest.raises(FetchError) as caught:
        fetch([*bad, *good], store, upstream)
    assert caught.value.exit_code == 5
    assert caught.value.what == "12 packages cannot be fetched"
    assert caught.value.got.count("not there") == 10
    assert "and 2 more" in caught.value.got
    assert all(held(store, r) for r in good)


def test_one_failure_names_package_and_scrubbed_url(site, store, upstream):
    url = site.url.replace("//", "//user:hunter2@") + "/t/tk-secret"
    wanted = record(url, "a-1.0-0.conda", b"abc")
    with pytest.raises(FetchError) as caught:
        fetch([wanted], store, upstream)
    text = caught.value.text()
    assert "a-1.0-0.conda: not there" in text
    assert f"{site.url}/a-1.0-0.conda" in text
    assert "hunter2" not in text
    assert "tk-secret" not in text
    assert {"hunter2", "tk-secret"} <= upstream.secrets()


def test_refused_credentials_stop_everything(site, store, upstream):
    records = [put(site, f"p{n}", size=2000, seed=n) for n in range(40)]
    site.always |= dict.fromkeys(site.files, servers.status(401))
    with pytest.raises(FetchError, match="wants credentials"):
        fetch(records, store, upstream)
    assert len(site.asked) <= 2 * upstream.connections


def test_a_server_out_of_order_is_given_up(site, store, upstream):
    wanted = put(site)
    site.always["/a-1.0-0.conda"] = servers.status(503)
    with pytest.raises(FetchError, match="out of order"):
        fetch([wanted], store, upstream)
    assert len(site.asked) == QUICK.tries


def test_a_server_that_wants_an_hour_is_given_up_at_once(site, store, upstream):
    wanted = put(site)
    site.always["/a-1.0-0.conda"] = servers.status(503, {"Retry-After": "3600"})
    with pytest.raises(FetchError):
        fetch([wanted], store, upstream)
    assert len(site.asked) == 1


def test_retry_after_is_honoured(site, store, upstream):
    wanted = put(site)
    site.once["/a-1.0-0.conda"] = [servers.status(429, {"Retry-After": "1"})]
    began = time.monotonic()
    fetch([wanted], store, upstream)
    assert time.monotonic() - began >= 1.0


def test_nobody_there(store, upstream):
    wanted = record("http://127.0.0.1:9", "a-1-0.conda", b"abc")
    with pytest.raises(FetchError, match="nobody answers"):
        fetch([wanted], store, upstream)


def test_too_little_space_is_seen_before_the_first_byte(site, store, upstream):
    wanted = record(site.url, "huge-1-0.conda", b"abc", size=1 << 60)
    with pytest.raises(SpaceError) as caught:
        fetch([wanted], store, upstream)
    assert caught.value.expected == f"{1 << 60} bytes free"
    assert not site.asked


def test_files_of_this_machine_are_copied(tmp_path, store, upstream):
    folder = tmp_path / "mirror ü#1"
    folder.mkdir()
    data = content(1, 10_000)
    (folder / "a-1.0-0.conda").write_bytes(data)
    from repack.urls import folder_url

    wanted = record(folder_url(folder), "a-1.0-0.conda", data)
    fetch([wanted], store, upstream)
    assert held(store, wanted)
    assert not store.path(wanted.sha256).samefile(folder / "a-1.0-0.conda")
    gone = record(folder_url(folder), "b-1.0-0.conda", b"b")
    with pytest.raises(FetchError, match="no such file"):
        fetch([gone], store, upstream)


def test_an_archive_changed_in_the_store_is_fetched_again(site, store, upstream):
    wanted = put(site)
    fetch([wanted], store, upstream)
    path = store.path(wanted.sha256)
    path.chmod(0o644)
    path.write_bytes(b"x" * BIG)
    assert fetch([wanted], store, upstream).files == 1
    assert held(store, wanted)


def test_two_builders_fetch_each_archive_once(site, tmp_path):
    records = [put(site, f"p{n}", size=200_000, seed=n) for n in range(12)]
    site.always |= dict.fromkeys(site.files, servers.slow(0.005, piece=50_000))
    faults = []

    def build():
        upstream = Upstream(retry_policy=QUICK)
        try:
            fetch(records, Store(tmp_path / "store"), upstream)
        except Exception as fault:  # noqa: BLE001
            faults.append(fault)

    builders = [threading.Thread(target=build) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert not faults
    assert sorted(site.paths()) == sorted(f"/{r.fn}" for r in records)
    assert all(held(Store(tmp_path / "store"), r) for r in records)


PROGRAM = """
    import sys
    from pathlib import Path
    from repack.conda.record import Record
    from repack.store.store import Store
    from repack.upstream.client import Upstream
    from repack.store.fetch import fetch
    url, fn, sha256, size, root = sys.argv[1:]
    raw = dict(name="a", version="1", build="0", build_number=0, subdir="noarch")
    record = Record.of({**raw, "sha256": sha256, "size": int(size)}, fn, f"{url}/{fn}")
    print("ready", flush=True)
    try:
        fetch([record], Store(Path(root)), Upstream())
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
    print("done", flush=True)
"""


def child(site, wanted, store):
    arguments = [site.url, wanted.fn, wanted.sha256, str(wanted.size), str(store.root)]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )


def wait_for_bytes(store, wanted, count):
    until = time.monotonic() + 60
    while store.partial_size(wanted.sha256) < count:
        assert time.monotonic() < until, "nothing comes"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_what_a_killed_run_left_is_resumed(site, store, upstream):
    wanted = put(site, size=6_000_000)

    def dripping(handler, data):
        handler.answer(200, data[:3_500_000], {"ETag": handler.etag(data)}, length=len(data))
        handler.wfile.flush()
        time.sleep(20)
        return True

    site.once["/a-1.0-0.conda"] = [dripping]
    with child(site, wanted, store) as process:
        wait_for_bytes(store, wanted, 2 << 20)
        process.kill()
        process.wait()
    left = store.partial_size(wanted.sha256)
    assert left >= 2 << 20
    assert not store.path(wanted.sha256).exists()
    fetched = fetch([wanted], store, upstream)
    assert fetched.bytes == wanted.size - left
    assert site.asked[-1].headers["range"] == f"bytes={left}-"
    assert held(store, wanted)
    assert not list(store.partials.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_killed_at_any_instant_the_store_is_good(site, store, upstream):
    wanted = put(site, size=4_000_000)
    chance = random.Random(7)
    site.always["/a-1.0-0.conda"] = None
    del site.always["/a-1.0-0.conda"]
    for _ in range(15):
        with child(site, wanted, store) as process:
            assert process.stdout.readline(), "it did not get ready"
            time.sleep(chance.uniform(0.0, 0.06))
            process.kill()
            process.wait()
        path = store.path(wanted.sha256)
        assert not path.exists() or held(store, wanted)
        assert store.contains_record(wanted) == path.exists()
        if path.exists():
            path.unlink()
    fetch([wanted], store, upstream)
    assert held(store, wanted)


def endless(begun=lambda: None):
    """Half of the file, and then a byte now and then: it takes hours."""

    def misdeed(handler, data):
        handler.answer(200, data[: len(data) // 2], length=len(data))
        begun()
        with contextlib.suppress(OSError):
            for byte in data[len(data) // 2 :]:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(0.05)
        return True

    return misdeed


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_ctrl_c_waits_for_no_download(site, store):
    wanted = put(site, size=4_000_000)
    site.always["/a-1.0-0.conda"] = endless()
    with child(site, wanted, store) as process:
        wait_for_bytes(store, wanted, 1 << 20)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert not store.path(wanted.sha256).exists()


def test_ctrl_c_in_the_waiting_thread(site, store, upstream):
    wanted = put(site)
    site.always["/a-1.0-0.conda"] = endless(begun=_thread.interrupt_main)
    with pytest.raises(KeyboardInterrupt):
        fetch([wanted], store, upstream)
    left = [thread for thread in threading.enumerate() if thread.name == "fetch"]
    assert not any(thread.is_alive() for thread in left)


def test_a_fault_of_our_own_is_not_swallowed(site, store, upstream):
    class Broken(Counting):
        def _add(self, count, _name=""):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch([put(site)], store, upstream, Broken())


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB, which only root can have."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_half_way(site, small_disk, upstream):
    store = Store(small_disk / "store")
    wanted = put(site)
    other = small_disk / "other"

    def filling(handler, data):
        other.write_bytes(bytes(2_500_000))

    site.once["/a-1.0-0.conda"] = [filling]
    with pytest.raises(SpaceError) as caught:
        fetch([wanted], store, upstream)
    assert caught.value.exit_code == 9
    assert "bytes free" in caught.value.expected
    assert not store.path(wanted.sha256).exists()
    other.unlink()
    assert fetch([wanted], store, upstream, SILENT).bytes < wanted.size, "what fitted is kept"
    assert held(store, wanted)
