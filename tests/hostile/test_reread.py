"""One flipped bit, with size and time as before: it is never published, and what has it is put right."""

from __future__ import annotations

import contextlib
import io
import json
import os

import pytest

from repack.cli.main import run
from repack.release import reread
from tests.world import World, check, records


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "wörld")


def stored(world: World, subdir: str, name: str):
    """The archive of a package in the store."""
    rows = records(world.channel, subdir)
    (sha256,) = {row["sha256"] for fn, row in rows.items() if fn.startswith(f"{name}-")}
    return world.store / "packages" / sha256[:2] / sha256


def flip(path) -> None:
    """Flip one bit in place, so that hard links have it too, and keep the times."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(data)
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def whole(world: World) -> None:
    check(world.channel)
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(["verify", str(world.channel)]) == 0


def test_an_unchanged_build_says_what_it_believed(world, capsys):
    assert world.build()["archives"] == "read"
    assert world.build()["archives"] == "believed"
    assert world.build("--paranoid")["archives"] == "read"
    capsys.readouterr()
    assert world.repack("label", "bank") == 0
    assert "believed by size and time" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tiny-lib", "tiny-data"])
@pytest.mark.parametrize("proof", ["linked", "solved"])
def test_a_new_release_never_has_a_flipped_bit(world, name, proof):
    world.build("--prove", proof)
    flip(stored(world, "noarch" if name == "tiny-data" else "linux-64", name))
    outcome = world.build("--prove", proof, health_check=["python", "-c", "pass"])
    assert outcome["release"] == 2
    whole(world)


def test_a_flipped_bit_in_an_own_package_is_never_published(world):
    models = world.root / "models"
    models.mkdir()
    (models / "risk.bin").write_bytes(b"weights")
    world.build(bundles={"models": {"path": str(models), "version": "2024.10.0"}})
    flip(stored(world, "noarch", "bank-models"))
    world.build(health_check=["python", "-c", "pass"])
    whole(world)


def test_when_upstream_is_gone_nothing_is_published(world):
    world.build()
    flip(stored(world, "noarch", "tiny-data"))
    (world.upstream / "noarch/tiny-data-1.0-0.conda").unlink()
    message = world.fail(5, health_check=["python", "-c", "pass"])
    assert "tiny-data" in message


@pytest.mark.parametrize("name", ["tiny-data", "bank-manifest"])
def test_a_paranoid_build_repairs_what_is_published(world, name):
    world.build()
    flip(stored(world, "noarch", name))
    assert world.build()["archives"] == "believed"
    world.build("--paranoid")
    whole(world)
    assert world.build("--paranoid")["changed"] is False


def test_every_so_often_a_build_is_paranoid(world, monkeypatch):
    monkeypatch.setattr(reread, "EVERY", 3)
    world.build()
    flip(stored(world, "noarch", "tiny-data"))
    seen = [world.build()["archives"] for _ in range(4)]
    assert sorted(set(seen)) == ["believed", "read"]
    assert seen.count("read") in {1, 2}
    whole(world)


@pytest.mark.parametrize("name", ["tiny-data", "bank-manifest"])
def test_what_store_verify_finds_the_next_build_repairs(world, name):
    world.build()
    flip(stored(world, "noarch", name))
    assert run(["store", "verify", "--store", str(world.store)]) == 6
    outcome = world.build()
    whole(world)
    assert outcome["release"] == (1 if name == "tiny-data" else 2)
    assert world.build()["changed"] is False
    assert run(["store", "verify", "--store", str(world.store)]) == 0


def test_what_store_verify_finds_is_repaired_in_the_history(world):
    world.build()
    lost = stored(world, "noarch", "tiny-app")
    world.build(packages=["tiny-data"])
    assert not lost.samefile(stored(world, "noarch", "tiny-data"))
    flip(lost)
    assert run(["store", "verify", "--store", str(world.store)]) == 6
    assert not lost.exists()
    assert world.build()["release"] == 2
    assert lost.is_file()
    assert world.repack("restore", "bank", "1") == 0
    whole(world)


def test_what_the_history_cannot_have_again_is_told(world):
    world.build()
    lost = stored(world, "linux-64", "bank")
    world.build(packages=["tiny-data"])
    flip(lost)
    assert run(["store", "verify", "--store", str(world.store)]) == 6
    assert any("release 1 cannot be restored" in text for text in world.build()["warnings"])


def test_restore_publishes_no_flipped_bit_and_heals_by_a_build(world, capsys):
    world.build()
    lost = stored(world, "noarch", "tiny-app")
    world.build(packages=["tiny-data"])
    flip(lost)
    assert world.repack("restore", "bank", "1") == 6
    whole(world)
    assert json.loads((world.channel / "repack/manifest.json").read_bytes())["version"] == "2"
    world.build()
    assert world.repack("restore", "bank", "1") == 0
    whole(world)
