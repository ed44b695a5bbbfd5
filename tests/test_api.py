"""``repack.build`` as a program uses it."""

from __future__ import annotations

import asyncio
import datetime as dt

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
