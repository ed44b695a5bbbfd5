"""Sync to folders and other machines, cut off at every instant."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from repack.channel.folder import Channels
from repack.errors import (
    BusyError,
    IntegrityError,
    PlaceError,
    RepackError,
    SpaceError,
    UsageError,
)
from repack.names import LabelName
from repack.sync.deliver import Transfer, deliver
from repack.sync.rsync import Remote, remote, remote_room
from repack.sync.sync import SyncOptions
from tests import channels
from tests.carrying import (
    content,
    killed_after,
    read_as_client,
    rsync_daemon,
    ssh_server,
    volume_of,
)
from tests.licensing import killed_at

OWN = Transfer("own")
NAME = "halkbank"


@pytest.fixture
def root(tmp_path):
    """A vendor's folder of channels; release 1 stands."""
    channels.build(tmp_path / "chan nels ü" / NAME)
    return tmp_path / "chan nels ü"


def publish(root, number):
    """Put release ``number`` in place of the one before."""
    channels.build(root / NAME, number=number)


def send(root, dest, way=OWN, **terms):
    return deliver(NAME, root, str(dest), way, SyncOptions(**terms))


@pytest.fixture(params=["own", "rsync"])
def way(request):
    if request.param == "rsync" and not shutil.which("rsync"):
        pytest.skip("no rsync here")
    return Transfer(request.param)


def test_a_new_folder_becomes_the_channel(root, tmp_path, way):
    dest = tmp_path / "share" / "with spaces"
    sent = send(root, dest, way)
    assert content(dest) == content(root / NAME)
    assert (sent.engine, len(sent.plan.copy), sent.plan.remove) == (way.engine, 20, ())
    package = "noarch/b-1-0.tar.bz2"
    assert not (dest / package).samefile(root / NAME / package)


def test_only_what_changed_is_copied_and_what_went_is_removed(root, tmp_path, way):
    send(root, tmp_path / "d", way)
    publish(root, 2)
    sent = send(root, tmp_path / "d", way)
    assert content(tmp_path / "d") == content(root / NAME)
    assert sent.plan.remove == tuple(
        f"{subdir}/a-1-0.conda" for subdir in ("linux-64", "noarch", "win-64")
    )
    assert "noarch/b-1-0.tar.bz2" not in {piece.path for piece in sent.plan.copy}
    again = send(root, tmp_path / "d", way)
    assert (again.plan.copy, again.plan.remove, len(again.plan.keep)) == ((), (), 20)


def test_damage_at_the_destination_is_repaired(root, tmp_path, way):
    send(root, tmp_path / "d", way)
    channels.flip(tmp_path / "d/noarch/b-1-0.tar.bz2")
    channels.flip(tmp_path / "d/index.html")
    sent = send(root, tmp_path / "d", way)
    assert [piece.path for piece in sent.plan.copy] == ["noarch/b-1-0.tar.bz2", "index.html"]
    assert content(tmp_path / "d") == content(root / NAME)


def test_dry_run_touches_nothing(root, tmp_path):
    sent = send(root, tmp_path / "d", dry_run=True)
    assert len(sent.plan.copy) == 20
    assert not (tmp_path / "d").exists()


def test_changed_text_is_two_seconds_younger(root, tmp_path):
    send(root, tmp_path / "d")
    repodata = tmp_path / "d/noarch/repodata.json"
    os.utime(repodata, (time.time() + 60, time.time() + 60))
    before = repodata.stat().st_mtime
    publish(root, 2)
    send(root, tmp_path / "d")
    assert repodata.stat().st_mtime >= before + 2


def test_litter_of_the_customer_stays(root, tmp_path):
    send(root, tmp_path / "d")
    (tmp_path / "d/noarch/Thumbs.db").write_bytes(b"x")
    publish(root, 2)
    send(root, tmp_path / "d")
    assert (tmp_path / "d/noarch/Thumbs.db").exists()


def test_folders_with_other_things_are_refused(root, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.odt").write_bytes(b"years")
    with pytest.raises(UsageError, match="other things"):
        send(root, home)
    other = channels.build(tmp_path / "other", label="other")
    with pytest.raises(UsageError, match="another label"):
        send(root, other)
    with pytest.raises(UsageError, match="each other"):
        send(root, root / NAME / "copy")
    with pytest.raises(UsageError, match="not a folder"):
        send(root, home / "thesis.odt")
    with pytest.raises(UsageError, match="no channel"):
        deliver("nobody", root, str(tmp_path / "d"), OWN, SyncOptions())
    assert content(home) == {"thesis.odt": b"years"}


def test_a_damaged_source_leaves_the_destination_alone(root, tmp_path, way):
    send(root, tmp_path / "d", way)
    before = content(tmp_path / "d")
    publish(root, 2)
    channels.flip(root / NAME / "noarch/a-2-0.conda")
    with pytest.raises(IntegrityError):
        send(root, tmp_path / "d", way)
    after = content(tmp_path / "d")
    assert {path: after[path] for path in before} == before


def test_what_does_not_fit_is_said_before_the_first_byte(root, tmp_path):
    sparse = root / NAME / "noarch" / "b-1-0.tar.bz2"
    with sparse.open("r+b") as stream:
        stream.truncate(4 << 30)
    manifest = root / NAME / "repack/manifest.json"
    size = len(f"{NAME} noarch b-1-0.tar.bz2".encode() * 100)
    text = manifest.read_text()
    at = text.index('"noarch/b-1-0.tar.bz2"')
    manifest.write_text(text[:at] + text[at:].replace(f'"size": {size}', f'"size": {4 << 30}', 1))
    with pytest.raises(SpaceError, match="FAT32") as caught:
        send(root, tmp_path / "d", file_system="fat32")
    assert "noarch/b-1-0.tar.bz2" in caught.value.text()
    assert not (tmp_path / "d").exists()


def test_no_room_is_said_before_the_first_byte(root):
    with volume_of("exfat", root.parent, "4M") as stick:
        big = os.urandom(8 << 20)
        (root / NAME / "repack/lock.yml").write_bytes(big)
        with pytest.raises(SpaceError, match=r"lock\.yml"):
            send(root, stick / NAME)
        assert not (stick / NAME).exists()


@pytest.mark.parametrize("kind", ["exfat", "fat32"])
def test_real_fat(root, kind):
    """Copied, updated, verified on a volume without links, owners and fine times."""
    with volume_of(kind, root.parent) as stick:
        send(root, stick / NAME)
        assert content(stick / NAME) == content(root / NAME)
        publish(root, 2)
        sent = send(root, stick / NAME)
        assert sent.plan.remove
        assert content(stick / NAME) == content(root / NAME)


def test_bandwidth_is_limited(root, tmp_path):
    began = time.monotonic()
    send(root, tmp_path / "d", Transfer("own", 20_000))
    packages = sum(p.stat().st_size for p in (tmp_path / "d").rglob("*-0.*"))
    assert packages > 10_000
    assert time.monotonic() - began >= 0.8 * packages / 20_000


def test_killed_at_every_touch_of_the_disk(root, tmp_path):
    """A reader sees a complete channel at every instant, and the next call ends well."""
    dest, cuts, number = tmp_path / "d", 0, 1
    send(root, dest)
    for instant in range(1, 2000, 2):
        number += 1
        publish(root, number)
        killed = killed_at(instant, lambda: send(root, dest))
        assert read_as_client(dest)
        if instant % 10 == 1 or not killed:
            send(root, dest)
            assert content(dest) == content(root / NAME)
        cuts += killed
        if not killed:
            break
    assert cuts > 60


def test_a_lock_that_a_killed_run_leaves_for_a_moment_is_waited_for(root, tmp_path):
    """What it was starting has it until it is another program; found by the kills above."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(Channels(root).exclusive(LabelName(NAME)))
        timer = threading.Timer(0.2, stack.pop_all().close)
        timer.start()
        send(root, tmp_path / "d")
        timer.join()
    with Channels(root).exclusive(LabelName(NAME)), pytest.raises(BusyError):
        send(root, tmp_path / "d")


def test_first_copy_killed_at_every_tenth_touch_goes_on(root, tmp_path):
    for instant in range(1, 2000, 10):
        dest = tmp_path / f"d{instant}"
        killed = killed_at(instant, lambda dest=dest: send(root, dest))
        read_as_client(dest)
        send(root, dest)
        assert content(dest) == content(root / NAME)
        if not killed:
            return
    pytest.fail("never ended")


def race(root, dest, there, way, count):
    """Kill ``count`` runs at random instants of their time; readers and the next call do well."""
    instants, took, killed, number = random.Random(count), 0.0, 0, 1
    began = time.monotonic()
    send(root, dest, way)
    took = time.monotonic() - began
    for _ in range(count):
        number += 1
        before = content(there)
        publish(root, number)
        began = time.monotonic()
        if killed_after(took * instants.random(), lambda: send(root, dest, way)):
            killed += 1
        else:
            took = (took + time.monotonic() - began) / 2
        assert read_as_client(there)
        packages = {path for path in before if path.endswith((".conda", ".bz2"))}
        if all(before[path] == data for path, data in repodata(there).items()):
            assert packages <= content(there).keys(), "the old release is not whole"
        send(root, dest, way)
        assert content(there) == content(root / NAME)
    assert killed > count / 3, killed


def repodata(folder):
    found = folder.glob("*/repodata.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@contextlib.contextmanager
def destination(kind, folder):
    """A place to sync to, the folder behind it, and the way there."""
    there = folder / "share" / "bank"
    if kind == "daemon":
        there.parent.mkdir()
        with rsync_daemon(folder, there.parent) as url:
            yield f"{url}/share/bank", there, OWN
    elif kind == "rsync" and not shutil.which("rsync"):
        pytest.skip("no rsync here")
    else:
        yield there, there, Transfer(kind)


@pytest.mark.parametrize("kind", ["own", "rsync", "daemon"])
def test_killed_at_random_instants(root, tmp_path, kind):
    with destination(kind, tmp_path) as (dest, there, way):
        race(root, dest, there, way, 4 if kind == "daemon" else 10)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("kind", ["own", "rsync", "daemon"])
def test_killed_at_two_hundred_random_instants(root, tmp_path, kind):
    with destination(kind, tmp_path) as (dest, there, way):
        race(root, dest, there, way, 200)


def test_a_reader_beside_the_copy_never_misses_a_package(root, tmp_path):
    send(root, tmp_path / "d")
    stop, faults, reads = threading.Event(), [], []

    def read():
        while not stop.is_set():
            try:
                reads.append(read_as_client(tmp_path / "d"))
            except (AssertionError, OSError, ValueError) as error:
                faults.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(2, 12):
            publish(root, number)
            send(root, tmp_path / "d", grace=0.1)
    finally:
        stop.set()
        reader.join()
    assert not faults
    assert len(reads) > 10


def test_unreadable_and_read_only_destinations_are_named(root, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PlaceError, match="file"):
        send(root, tmp_path / "file" / "d")
    assert Channels(root).published(LabelName(NAME)).is_dir()


def test_rsync_daemon(root, tmp_path):
    share = tmp_path / "sh are"
    share.mkdir()
    with rsync_daemon(tmp_path, share) as url:
        dest = f"{url}/share/bank%20ü"
        plan = send(root, dest, dry_run=True)
        assert (len(plan.plan.copy), list(share.iterdir())) == (20, [])
        send(root, dest)
        there = share / "bank ü"
        assert content(there) == content(root / NAME)
        publish(root, 2)
        channels.flip(there / "noarch/b-1-0.tar.bz2")
        sent = send(root, dest)
        assert len(sent.plan.remove) == 3
        assert content(there) == content(root / NAME)
        assert send(root, dest).plan.copy == ()
        channels.build(root / "other", label="other")
        with pytest.raises(UsageError, match="another label"):
            deliver("other", root, dest, OWN, SyncOptions())
        (share / "home").mkdir()
        (share / "home/thesis.odt").write_bytes(b"years")
        with pytest.raises(UsageError, match="other things"):
            send(root, f"{url}/share/home")


def test_rsync_daemon_with_a_password(root, tmp_path):
    (tmp_path / "share").mkdir()
    with rsync_daemon(tmp_path, tmp_path / "share") as url:
        host = url.removeprefix("rsync://")
        with pytest.raises(PlaceError) as caught:
            send(root, f"rsync://vendor:wr0ng@{host}/locked/bank")
        assert "wr0ng" not in caught.value.text()
        sent = send(root, f"rsync://vendor:s3cret@{host}/locked/bank")
        assert "s3cret" not in str(sent.to_json())
    assert content(tmp_path / "share/bank") == content(root / NAME)
    with pytest.raises(PlaceError):
        send(root, f"rsync://{host}/share/bank")


def test_a_cut_connection_is_gone_on_with(root, tmp_path):
    """The daemon is killed midway; readers there see the old release, and the next run ends."""
    share = tmp_path / "share"
    share.mkdir()
    with rsync_daemon(tmp_path, share) as url:
        send(root, f"{url}/share/bank")
    publish(root, 2)
    with rsync_daemon(tmp_path, share) as url:
        done = []

        def slow():
            try:
                send(root, f"{url}/share/bank", Transfer("auto", 2000))
            except RepackError as error:
                done.append(error)

        thread = threading.Thread(target=slow)
        thread.start()
        time.sleep(0.5)
    thread.join(30)
    assert done
    assert isinstance(done[0], PlaceError)
    assert read_as_client(share / "bank")
    with rsync_daemon(tmp_path, share) as url:
        send(root, f"{url}/share/bank")
    assert content(share / "bank") == content(root / NAME)


@contextlib.contextmanager
def mounted(*command):
    """A mount for a test; skipped where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", *command], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        # a server that was killed may hold it a moment longer
        subprocess.run(["umount", "--lazy", command[-1]], check=True)


@contextlib.contextmanager
def reached(kind, folder, disk, monkeypatch):
    """The way to a folder of the small disk: its path, a daemon's URL or ssh's."""
    if kind == "daemon":
        with rsync_daemon(folder, disk) as url:
            yield f"{url}/share/bank"
    elif kind == "ssh":
        with ssh_server(folder) as (port, shell):
            monkeypatch.setenv("RSYNC_RSH", shell)
            yield f"ssh://127.0.0.1:{port}{disk}/bank"
    else:
        yield str(disk / "bank")


@pytest.mark.parametrize("kind", ["own", "rsync", "daemon", "ssh"])
def test_a_disk_that_fills_midway(root, tmp_path, monkeypatch, kind):
    """Readers there keep the old release, the error is the table's, and with room it goes on."""
    engine = kind if kind in {"own", "rsync"} else "auto"
    if kind != "own" and not shutil.which("rsync"):
        pytest.skip("no rsync here")
    # Where the room is asked for first, it is names that the disk has no room for.
    limit = {"daemon": "size=1m", "ssh": "nr_inodes=29"}.get(kind, "nr_inodes=38")
    disk = tmp_path / "disk"
    disk.mkdir()
    with (
        mounted("-t", "tmpfs", "-o", limit, "tmpfs", disk),
        reached(kind, tmp_path, disk, monkeypatch) as dest,
    ):
        send(root, dest, Transfer(engine))
        before = content(disk / "bank")
        channels.build(root / NAME, number=2, ballast=os.urandom(1 << 20))
        with pytest.raises(SpaceError) as caught:
            send(root, dest, Transfer(engine))
        assert caught.value.exit_code == 9
        assert read_as_client(disk / "bank")
        after = content(disk / "bank")
        assert {path: after[path] for path in before} == before
        subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=1000", disk], check=True)
        send(root, dest, Transfer(engine))
        assert content(disk / "bank") == content(root / NAME)


@pytest.mark.parametrize("kind", ["own", "rsync", "daemon", "ssh"])
def test_a_destination_that_is_read_only(root, tmp_path, monkeypatch, kind):
    """By a mount, for the superuser does not ask modes."""
    if kind != "own" and not shutil.which("rsync"):
        pytest.skip("no rsync here")
    engine = kind if kind in {"own", "rsync"} else "auto"
    share = tmp_path / "share"
    share.mkdir()
    send(root, share / "bank")
    before = content(share / "bank")
    publish(root, 2)
    with (
        mounted("--bind", share, share),
        reached(kind, tmp_path, share, monkeypatch) as dest,
    ):
        subprocess.run(["mount", "-o", "remount,bind,ro", share], check=True)
        with pytest.raises(PlaceError) as caught:
            send(root, dest, Transfer(engine))
        assert caught.value.exit_code == 2
        assert "Traceback" not in caught.value.text()
        assert content(share / "bank") == before


def test_no_room_behind_ssh_is_said_before_the_first_byte(root, tmp_path, monkeypatch):
    disk = tmp_path / "sm all"
    disk.mkdir()
    channels.build(root / NAME, number=2, ballast=os.urandom(1 << 20))
    with (
        mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", disk),
        reached("ssh", tmp_path, disk, monkeypatch) as dest,
    ):
        with pytest.raises(SpaceError, match="nothing was sent"):
            send(root, dest)
        assert list(disk.iterdir()) == []
        # where only rsync may be run, nobody can say
        keys = tmp_path / "authorized_keys"
        keys.write_text(f'command="rsync --server --nothing" {keys.read_text()}')
        assert remote_room(remote(dest)) is None
    assert remote_room(Remote("nobody.invalid:/x", "x")) is None
    assert remote_room(Remote("rsync://host/module/x", "x")) is None
    assert remote_room(Remote("host::module/x", "x")) is None


def test_ssh(root, tmp_path, monkeypatch):
    with ssh_server(tmp_path) as (port, shell):
        monkeypatch.setenv("RSYNC_RSH", shell)
        dest = tmp_path / "far away"
        send(root, f"ssh://127.0.0.1:{port}{Path(dest).as_posix()}")
        assert content(dest) == content(root / NAME)
        publish(root, 2)
        monkeypatch.setenv("RSYNC_RSH", f"{shell} -p {port}")
        sent = send(root, f"127.0.0.1:{dest}")
        assert len(sent.plan.remove) == 3
        assert content(dest) == content(root / NAME)
