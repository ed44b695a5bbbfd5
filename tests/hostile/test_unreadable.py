"""Folders that cannot be read: never taken for empty ones, whoever looks into them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.agent import bank as banks
from tests.hostile.test_places import medium, repack, state, sync
from tests.world import World

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the modes and capabilities of Linux"
)
# Not at all; searched but not listed, so that it looks empty; listed but not searched.
MODES = (0o000, 0o300, 0o400)


@contextlib.contextmanager
def bound_by_modes():
    """Run the block without root's right to pass over modes."""
    if os.geteuid() != 0:
        yield
        return
    # capabilities(7): CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH; threads that start here inherit it.
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    effective = sets[0]
    try:
        sets[0] = effective & ~0b110
        assert libc.capset(header, sets) == 0
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a closed one in it, which shows that modes bind."""
    folder = tmp_path_factory.mktemp("unreadable ü")
    (folder / "closed").mkdir(mode=0)
    with bound_by_modes(), pytest.raises(PermissionError):
        list((folder / "closed").iterdir())
    return folder


@pytest.fixture(scope="module")
def vendor(base):
    """A label with two releases, a medium and a share of the first; never write into it."""
    world = World(base / "vendor")
    world.build()
    for words in (medium(world, world.root / "stick"), sync(world, world.root / "share")):
        code, said = repack(*words)
        assert code == 0, said
    world.build("--update", packages=["tiny-data"])
    return world


def attacks(base: Path, folder: Path, matter):
    """A copy of `folder` for each folder in it that matters and each mode."""
    count = 0
    for site in sorted(path for path in folder.rglob("*") if path.is_dir()):
        name = site.relative_to(folder).as_posix()
        if not matter(name):
            continue
        for mode in MODES:
            count += 1
            place = base / f"place {count}"
            shutil.copytree(folder, place, symlinks=True)
            before = state(place)
            (place / name).chmod(mode)
            yield f"{mode:o} at {name}", place
            (place / name).chmod(site.stat().st_mode)
            after = state(place)
            shutil.rmtree(place)
            gone = before.keys() - after.keys()
            assert not gone, f"{mode:o} at {name}: {sorted(gone)}"
    assert count >= 6


def all_of(_name):
    return True


def refused(name, words):
    with bound_by_modes():
        code, said = repack(*words)
    assert code != 0, f"{name}: it went well"
    assert "denied" in said, f"{name}: {said}"


def test_sync_does_not_take_its_destination_for_empty(vendor, base):
    for name, share in attacks(base, vendor.root / "share", all_of):
        refused(name, sync(vendor, share))


def test_a_medium_loses_no_release(vendor, base):
    for name, stick in attacks(base, vendor.root / "stick", all_of):
        refused(name, medium(vendor, stick))


def test_verify_does_not_pass_what_it_cannot_read(vendor, base):
    for name, share in attacks(base, vendor.root / "share", all_of):
        refused(name, ["verify", share])


def test_gc_deletes_nothing_when_it_cannot_see_what_is_needed(vendor, base):
    def matters(name):
        return not name.startswith((".staging", ".locks"))

    store = base / "store"
    for name, channels in attacks(base, vendor.channels, matters):
        shutil.copytree(vendor.store, store, symlinks=True)
        before = set((store / "packages").rglob("*"))
        words = ["store", "gc", "--grace", "0", "--channels-dir", channels, "--store", store]
        with bound_by_modes():
            code, said = repack(*words)
        # What a project's other channels hold is needed as well: only what is said is allowed.
        assert code != 0, f"{name}: {said}"
        assert set((store / "packages").rglob("*")) == before, name
        shutil.rmtree(store)


def test_a_build_forgets_no_release(vendor, base):
    def matters(name):
        return name.startswith((".history", "bank"))

    for name, channels in attacks(base, vendor.channels, matters):
        with bound_by_modes():
            code, said = repack(
                "label", "bank", "--channels-dir", channels, "--labels-dir", vendor.labels,
                "--store", vendor.store,
            )  # fmt: skip
        assert "Traceback" not in said
        assert code in {0, 2, 6}, f"{name}: {code} {said}"


def test_a_target_says_what_it_cannot_read(base):
    (base / "signed").mkdir()
    world = banks.world(base / "signed")
    with contextlib.chdir(base / "signed"):
        banks.build(world, base / "signed" / "media", releases=1)
    for name, media in attacks(base, base / "signed" / "media" / "1" / "bank", all_of):
        target = base / f"target of {media.name}"
        target.mkdir()
        bank = banks.Bank(target)
        bank.configure(trust={"root": str(base / "signed/media/root.json")})
        with bound_by_modes():
            code, said = bank.agent("install", "--src-dir", str(media))
        if name.startswith("300") or "win-64" in name:  # it opens what it needs, and lists nothing
            assert bank.in_use == 1
        else:
            assert code not in {0, 1}, f"{name}: {said}"
