"""Publishing: whole channels only, at any instant, in both ways of doing it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from repack.channel.folder import Channels, ChannelTree
from repack.errors import BusyError, IntegrityError
from repack.fs import exchange
from repack.fs.walk import walk
from repack.names import LabelName, RelPath

if TYPE_CHECKING:
    from pathlib import Path

NAME = LabelName("bank")


def tree(store: Path, *packages: str, note: str = "") -> ChannelTree:
    """A channel of one subdir whose repodata names ``packages``."""
    store.mkdir(parents=True, exist_ok=True)
    archives = {}
    for package in packages:
        data = package.encode() * 1000
        path = store / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        archives[RelPath(f"linux-64/{package}.conda")] = path
    records = {path.split("/")[1]: {"sha256": file.name} for path, file in archives.items()}
    repodata = json.dumps({"packages.conda": records, "note": note}).encode()
    texts = {
        RelPath("linux-64/repodata.json"): repodata,
        RelPath("noarch/repodata.json"): b"{}",
        RelPath("repack/manifest.json"): note.encode(),
    }
    return ChannelTree(archives, texts)


def check(folder: Path) -> frozenset[str]:
    """A reader's view: every package the repodata names is there and right."""
    records = json.loads((folder / "linux-64/repodata.json").read_bytes())["packages.conda"]
    for fn, record in records.items():
        data = (folder / "linux-64" / fn).read_bytes()
        assert hashlib.sha256(data).hexdigest() == record["sha256"]
    return frozenset(records)


@pytest.fixture(params=["exchange", "ordered"])
def channels(request, tmp_path, monkeypatch):
    if request.param == "ordered":
        monkeypatch.setattr(exchange, "can_exchange", lambda _folder: False)
    elif not exchange.can_exchange(tmp_path):
        pytest.skip("this system cannot exchange two folders in one call")
    return Channels(tmp_path / "spaces and ümläuts" / "channels")


def publish(channels: Channels, content: ChannelTree) -> None:
    channels.stage(NAME, content)
    channels.publish(NAME, content)


def test_first_publish_and_update_leave_exactly_the_tree(channels, tmp_path):
    first = tree(tmp_path / "store", "a-1", "b-1", note="one")
    publish(channels, first)
    folder = channels.published(NAME)
    assert set(walk(folder)) == first.paths
    second = tree(tmp_path / "store", "a-1", "b-2", note="two")
    publish(channels, second)
    assert set(walk(folder)) == second.paths
    assert check(folder) == {"a-1.conda", "b-2.conda"}
    assert not (channels.root / ".staging" / NAME).exists()


def test_unchanged_texts_keep_their_time_and_changed_ones_move_by_two_seconds(channels, tmp_path):
    publish(channels, tree(tmp_path / "store", "a-1", note="one"))
    folder = channels.published(NAME)
    future = time.time() + 3600
    os.utime(folder / "linux-64/repodata.json", (future, future))
    os.utime(folder / "noarch/repodata.json", (1_000_000_000, 1_000_000_000))
    publish(channels, tree(tmp_path / "store", "a-1", note="two"))
    assert (folder / "linux-64/repodata.json").stat().st_mtime >= future + 2
    assert (folder / "noarch/repodata.json").stat().st_mtime == 1_000_000_000


def test_litter_is_left_alone(channels, tmp_path):
    publish(channels, tree(tmp_path / "store", "a-1"))
    litter = channels.published(NAME) / "linux-64" / "._a-1.conda"
    litter.write_bytes(b"finder")
    publish(channels, tree(tmp_path / "store", "a-2"))
    assert litter.read_bytes() == b"finder"
    assert litter.name not in {path.split("/")[-1] for path in walk(channels.published(NAME))}


def test_packages_share_the_disk_with_the_store(channels, tmp_path):
    content = tree(tmp_path / "store", "a-1")
    publish(channels, content)
    for path, source in content.packages.items():
        assert (channels.published(NAME) / path).samefile(source)


def test_history_remembers_recalls_and_forgets(tmp_path):
    channels = Channels(tmp_path)
    for release in (1, 2, 10):
        channels.remember(NAME, release, {RelPath("repack/manifest.json"): b"%d" % release})
    assert channels.releases(NAME) == (1, 2, 10)
    assert channels.recall(NAME, 2) == {"repack/manifest.json": b"2"}
    channels.forget(NAME, keep=1, current=2)
    assert channels.releases(NAME) == (2, 10)
    with pytest.raises(IntegrityError, match="nothing whole is kept"):
        channels.recall(NAME, 1)


def test_second_builder_is_refused(tmp_path):
    channels = Channels(tmp_path)
    with channels.exclusive(NAME), pytest.raises(BusyError), channels.exclusive(NAME):
        pytest.fail("both got in")


PUBLISHER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from repack.channel import folder as place
from repack.fs import exchange as exchanging
from tests.channel.test_folder import NAME, tree
if {way!r} == "ordered":
    exchanging.can_exchange = lambda _folder: False
channels = place.Channels(Path({root!r}))
store = Path({store!r})
trees = [tree(store, *(f"p{{i}}-{{n}}" for i in range(20)), note=str(n)) for n in range(2)]
print("ready", flush=True)
while True:
    for content in trees:
        channels.stage(NAME, content)
        channels.publish(NAME, content)
"""


@pytest.mark.parametrize("way", ["exchange", "ordered"])
def test_kill_at_any_instant_leaves_a_whole_channel(tmp_path, way):
    root, store = tmp_path / "channels", tmp_path / "store"
    whole = [frozenset(f"p{i}-{n}.conda" for i in range(20)) for n in range(2)]
    publish(Channels(root), tree(store, *(f"p{i}-0" for i in range(20)), note="0"))
    code = PUBLISHER.format(path=sys.path, way=way, root=str(root), store=str(store))
    random.seed(17)
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline(), "it did not get ready"
            time.sleep(random.uniform(0.0, 0.06))
            process.send_signal(signal.SIGKILL)
        assert check(root / NAME) in whole
    content = tree(store, "last-1", note="end")
    publish(Channels(root), content)
    assert set(walk(root / NAME)) == content.paths
