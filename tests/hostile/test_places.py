"""Folders that somebody else prepared: links, pipes and devices where files and folders belong.

Whatever stands in a destination, on a medium, beside the channels or on a target: nothing that it
leads to is read into a channel, written, or removed, and nothing waits for a pipe.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import stat
import sys
from pathlib import Path

import pytest

from repack.cli.main import run
from repack.errors import PlaceError
from repack.fs import beneath, openat
from tests.agent import bank as banks
from tests.world import World

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and links of POSIX")
KINDS = ("link", "pipe", "device")
# No verb here takes longer than a second; a hang is one that waits for ever.
PATIENCE = 60


def state(folder: Path) -> dict[str, object]:
    """Everything below ``folder``, links not followed."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, data)
    return found


@contextlib.contextmanager
def in_time():
    """Fail when the block hangs."""

    def late(*_):
        raise TimeoutError("something waits for a pipe or a device")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def repack(*arguments) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), in_time():
        code = run([str(argument) for argument in arguments])
    assert "Traceback" not in err.getvalue(), err.getvalue()
    assert code != 1, err.getvalue()
    return code, err.getvalue()


def home_of(victim: Path, like: Path) -> Path:
    """A victim's folder: what the attacked one holds, so that all looks right, and what is his."""
    if like.is_dir() and not like.is_symlink():
        shutil.copytree(like, victim, symlinks=True)
    else:
        victim.mkdir(parents=True)
    (victim / "Docs").mkdir()
    (victim / "precious.txt").write_text("mine")
    (victim / "Docs" / "letter.txt").write_text("mine, too")
    (victim / "tiny-0.1-0.conda").write_text("mine as well")
    return victim


def plant(site: Path, kind: str, victim: Path) -> None:
    """Put a link, pipe or device at ``site``, instead of what is there."""
    is_file = site.is_file()
    shutil.copy2(site, victim / "file") if is_file else None
    if site.is_dir() and not site.is_symlink():
        shutil.rmtree(site)
    elif os.path.lexists(site):
        site.unlink()
    site.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        site.symlink_to(victim / "file" if is_file else victim)
    elif kind == "pipe":
        os.mkfifo(site)
    else:
        try:
            os.mknod(site, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero, which has no end
        except PermissionError:
            pytest.skip("no device can be made here")


def sites_in(folder: Path) -> list[str]:
    """Every folder and metadata file below ``folder``, and one package."""
    found, packages = [], 0
    for path in sorted(folder.rglob("*")):
        is_package = path.name.endswith((".conda", ".tar.bz2"))
        packages += is_package
        if not is_package or packages == 1:
            found.append(path.relative_to(folder).as_posix())
    return found


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    """A label with two releases; never write into it."""
    root = tmp_path_factory.mktemp("vendor ü")
    world = World(root)
    world.build()
    world.build("--update", packages=["tiny-data"])
    code, said = repack(*medium(world, root / "stick"))
    assert code == 0, said
    code, said = repack(*sync(world, root / "share"))
    assert code == 0, said
    return world


def folders(world) -> list[object]:
    return ["--channels-dir", world.channels]


def medium(world, dest) -> list[object]:
    places = [*folders(world), "--labels-dir", world.labels, "--store", world.store]
    return ["medium", world.name, dest, *places]


def sync(world, dest) -> list[object]:
    return ["sync", world.name, dest, "--grace", "0", *folders(world)]


def attacks(vendor, tmp_path, folder: Path, extra: tuple[str, ...]):
    """A copy of ``folder`` for each place in it and each thing that can be planted there."""
    count = 0
    for site in (*sites_in(folder), *extra):
        for kind in KINDS:
            count += 1
            place, base = tmp_path / f"place {count}", tmp_path / f"victim {count}"
            shutil.copytree(folder, place, symlinks=True)
            victim = home_of(base / "home", place / site)
            plant(place / site, kind, victim)
            yield f"{kind} at {site}", place, base
            shutil.rmtree(place)
            shutil.rmtree(base)
    assert count > 30


LEFTOVERS = (".repack-sync", ".repack-sync/noarch", ".repack-metadata", "repack/.repack-metadata")


def test_a_destination_of_sync_leads_nowhere(vendor, tmp_path):
    source = state(vendor.channels)
    for name, share, victim in attacks(vendor, tmp_path, vendor.root / "share", LEFTOVERS):
        before = state(victim)
        code, said = repack(*sync(vendor, share))
        assert state(victim) == before, f"{name}: {code} {said}"
        assert code in {0, 2, 6}, f"{name}: {code} {said}"
        if code == 0:
            assert repack("verify", share)[0] == 0, name
    assert state(vendor.channels) == source


def test_a_medium_leads_nowhere(vendor, tmp_path):
    leftovers = (
        *(f"bank/{path}" for path in LEFTOVERS),
        "oem",
        "installers",
        "bank/repack/releases",
    )
    for name, stick, victim in attacks(vendor, tmp_path, vendor.root / "stick", leftovers):
        before = state(victim)
        code, said = repack(*medium(vendor, stick))
        assert state(victim) == before, f"{name}: {code} {said}"
        assert code in {0, 2, 6}, f"{name}: {code} {said}"
        if code == 0:
            assert repack("verify", stick / "bank")[0] == 0, name


def test_the_stage_of_a_medium_is_no_way_into_a_home(vendor, tmp_path):
    stick = shutil.copytree(vendor.root / "stick", tmp_path / "stick")
    home = home_of(tmp_path / "home", tmp_path / "nothing")
    (stick / "bank/.repack-sync").symlink_to(home)
    before = state(home)
    code, said = repack(*medium(vendor, stick))
    assert code == 2
    assert ".repack-sync: is a link" in said
    assert "remove it" in said
    assert state(home) == before


def test_what_is_staged_is_not_removed_through_a_link(vendor, tmp_path):
    share = shutil.copytree(vendor.root / "share", tmp_path / "share")
    home = home_of(tmp_path / "home", tmp_path / "nothing")
    (share / ".repack-sync").mkdir()
    (share / ".repack-sync/noarch").symlink_to(home)
    before = state(home)
    assert repack(*sync(vendor, share))[0] == 0
    assert state(home) == before
    assert not (share / ".repack-sync").exists()


def test_the_channels_lead_nowhere(vendor, tmp_path):
    extra = (".staging/bank", ".staging/bank/noarch", ".history/bank/3", ".locks/bank.lock")
    extra += (".history/bank/.repack-3", ".staging/bank.work")
    for name, channels, victim in attacks(vendor, tmp_path, vendor.channels, extra):
        before = state(victim)
        world = World.__new__(World)
        world.__dict__ |= {**vendor.__dict__, "channels": channels}
        places = [*folders(world), "--labels-dir", world.labels, "--store", world.store]
        code, said = repack("label", "bank", *places)
        assert state(victim) == before, f"{name}: {code} {said}"
        assert code in {0, 2, 6}, f"{name}: {code} {said}"


def test_what_a_channel_leads_to_is_no_part_of_it(vendor, tmp_path):
    for name, share, victim in attacks(vendor, tmp_path, vendor.root / "share", ()):
        before = state(victim)
        code, said = repack("verify", share)
        assert code in {2, 6}, f"{name}: {code} {said}"
        assert state(victim) == before


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A medium with one signed release, for targets; never write into it."""
    root = tmp_path_factory.mktemp("signed")
    with contextlib.chdir(root):
        banks.build(banks.world(root), root / "media", releases=1)
    return root


def test_a_target_reads_only_what_lies_on_the_medium(signed, tmp_path):
    for name, media, victim in attacks(signed, tmp_path, signed / "media" / "1", ()):
        if "root.json" in name:
            continue  # beside the channel for the tests alone
        (tmp_path / f"target of {media.name}").mkdir()
        bank = banks.Bank(tmp_path / f"target of {media.name}")
        bank.medium = lambda _release, media=media: media
        bank.configure(
            trust={"root": str(signed / "media" / "1" / "bank/repack/metadata/root.json")}
        )
        before = state(victim)
        with in_time():
            code, said = bank.agent("check", "--src-dir", str(media))
        assert code != 1, f"{name}: {said}"
        assert state(victim) == before


@pytest.mark.parametrize("way", ["one call", "step by step"])
class TestTheOpener:
    """What holds for every path below a guarded place, by openat2 and without it."""

    @pytest.fixture
    def place(self, way, tmp_path, monkeypatch):
        if way == "step by step":
            monkeypatch.setattr(openat, "has_openat2", lambda: False)
        elif not openat.has_openat2():
            pytest.skip("this kernel has no openat2, or it is forbidden here")
        real = tmp_path / "real"
        (real / "in/deep").mkdir(parents=True)
        (real / "in/deep/file").write_text("x")
        home_of(tmp_path / "home", tmp_path / "nothing")
        (real / "out").symlink_to(tmp_path / "home")
        (real / "in/leaf").symlink_to("deep/file")
        os.mkfifo(real / "in/pipe")
        (tmp_path / "place").symlink_to(real)  # what leads to the place is its user's word
        return beneath.guard(tmp_path / "place")

    def test_files_are_read_and_written(self, place):
        with beneath.reading(place / "in/deep/file") as stream:
            assert stream.read() == b"x"
        beneath.make_folders(place / "new/one/two")
        with beneath.writing(place / "new/one/two/file") as stream:
            stream.write(b"y")
        beneath.rename(place / "new/one/two/file", place / "in/other")
        beneath.link(place / "in/other", place / "in/second")
        assert beneath.status(place / "in/second").st_nlink == 2
        names = [(entry.name, entry.kind) for entry in beneath.scan(place / "in")]
        assert names == [
            ("deep", "folder"), ("leaf", "odd"), ("other", "file"), ("pipe", "odd"),
            ("second", "file"),
        ]  # fmt: skip
        beneath.remove_tree(place / "in")
        assert not beneath.exists(place / "in")

    def test_no_link_is_followed(self, place, tmp_path):
        before = state(tmp_path / "home")
        file = place / "in/deep/file"
        for attempt in (
            lambda: beneath.reading(place / "out/precious.txt"),
            lambda: beneath.reading(place / "in/leaf"),
            lambda: beneath.writing(place / "out/precious.txt"),
            lambda: beneath.writing(place / "in/leaf"),
            lambda: beneath.writing(place / "out/new", new=True),
            lambda: beneath.make_folders(place / "out/new"),
            lambda: beneath.make_folders(place / "out"),
            lambda: beneath.make_folder(place / "out/new"),
            lambda: beneath.scan(place / "out"),
            lambda: beneath.scan(place / "out/Docs"),
            lambda: beneath.rename(file, place / "out/file"),
            lambda: beneath.rename(place / "out/precious.txt", place / "stolen"),
            lambda: beneath.link(file, place / "out/file"),
            lambda: beneath.link(place / "out/precious.txt", place / "stolen"),
            lambda: beneath.symlink("x", place / "out/link"),
            lambda: beneath.readlink(place / "out/link"),
            lambda: beneath.unlink(place / "out/precious.txt"),
            lambda: beneath.remove_folder(place / "out/Docs"),
            lambda: beneath.remove_tree(place / "out/Docs"),
            lambda: beneath.remove_tree(place / "out"),
            lambda: beneath.set_times(place / "out/precious.txt", (0, 0)),
            lambda: beneath.set_mode(place / "out/precious.txt", 0o777),
            lambda: beneath.set_mode(place / "in/leaf", 0o777),
            lambda: beneath.status(place / "out/precious.txt"),
            lambda: beneath.exists(place / "out/precious.txt"),
        ):
            with pytest.raises((OSError, PlaceError)):
                attempt()
        assert state(tmp_path / "home") == before
        assert (place / "in/deep/file").read_text() == "x"
        assert not (place / "stolen").exists()

    def test_a_link_in_a_tree_goes_and_what_it_leads_to_stays(self, place, tmp_path):
        before = state(tmp_path / "home")
        (place / "in/deep/out").symlink_to(tmp_path / "home")
        beneath.remove_tree(place / "in")
        beneath.unlink(place / "out")
        assert state(tmp_path / "home") == before
        assert beneath.scan(place) == []

    def test_pipes_do_not_make_wait(self, place):
        with in_time(), pytest.raises(OSError, match="no regular file"):
            beneath.reading(place / "in/pipe")
        with in_time(), pytest.raises(OSError):
            beneath.writing(place / "in/pipe")
