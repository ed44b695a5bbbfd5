"""``repack.build`` as a program uses it."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import pytest

import repack
from repack.errors import UnsolvableError
from tests.world import World, check


def options(world: World) -> repack.Options:
    return {
        "labels_dir": world.labels,
        "channels_dir": str(world.channels),
        "store": world.store,
        "environment": {"PATH": "/usr/bin:/bin"},
        "now": dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC),
    }


def test_build_and_build_again(tmp_path):
    world = World(tmp_path)
    world.write()
    assert repack.build("bank", **options(world), dry_run=True).changed
    assert not world.channel.exists()
    outcome = repack.build("bank", **options(world))
    assert (outcome.release, outcome.changed) == (1, True)
    assert set(outcome.added) == check(world.channel)
    assert b"2026-11-20T12:00:00Z" in (world.channel / "repack/manifest.json").read_bytes()
    assert not repack.build("bank", **options(world)).changed


def test_errors_are_repacks(tmp_path):
    world = World(tmp_path)
    world.write(packages=["tiny-app >5"])
    with pytest.raises(UnsolvableError) as caught:
        repack.build("bank", **options(world))
    assert set(caught.value.explanations) == {"linux-64", "win-64"}


def test_build_from_within_an_event_loop(tmp_path):
    world = World(tmp_path)
    world.write()

    async def notebook() -> bool:
        return repack.build("bank", **options(world)).changed

    assert asyncio.run(notebook())


def test_the_environment_names_the_folders(tmp_path):
    world = World(tmp_path)
    world.write()
    given = options(world)
    for name in ("labels_dir", "channels_dir", "store"):
        given["environment"][f"REPACK_{name.upper()}"] = str(given.pop(name))
    repack.build("bank", **given, prove="solved")
    check(world.channel)
    assert any(path.is_file() for path in world.store.rglob("*"))


def test_every_public_name_is_there():
    assert {name: getattr(repack, name) for name in repack.__all__}
    with pytest.raises(AttributeError):
        _ = repack.nothing


USE = """
from repack import Options, Outcome, RepackError, UnsolvableError, build

def use(options: Options) -> int:
    try:
        outcome: Outcome = build("bank", **options)
    except UnsolvableError as error:
        return len(error.explanations)
    except RepackError as error:
        return error.exit_code
    return outcome.release

build("bank", stoer="x")
"""


@pytest.mark.slow
def test_a_program_that_uses_it_is_checked(tmp_path):
    """mypy sees the types of the package, and a misspelt option."""
    (tmp_path / "use.py").write_text(USE)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "use.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Found 1 error in 1 file" in done.stdout, done.stdout
    assert "stoer" in done.stdout
