"""A ``from:`` lock is a list of files: taken by name and hash from whatever channel has them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests import tiny
from tests.world import World, records

if TYPE_CHECKING:
    from pathlib import Path

DATA = tiny.Package("tiny-data", "1.0", (), "noarch", "generic", files={"share/a.txt": "one\n"})
OTHER = tiny.Package("tiny-data", "1.0", (), "noarch", "generic", files={"share/a.txt": "two\n"})
NEWER = tiny.Package("tiny-data", "1.10", (), "noarch", "generic", files={"share/a.txt": "3\n"})
NEEDY = tiny.Package("needy", "1.0", ("tiny-data",), "noarch", "generic", files={"share/n": "n\n"})


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "vendor", {"platforms": {"linux-64": {}}, "from": "list.txt"})
    del made.label["packages"]
    return made


def lock(world: World, *lines: str) -> None:
    text = "# platform: linux-64\n@EXPLICIT\n" + "".join(f"{line}\n" for line in lines)
    (world.labels / "list.txt").write_text(text)


def line(channel: Path, fn: str, *, hashed: bool = True) -> str:
    path = channel / "noarch" / fn
    digest = f"#sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" if hashed else ""
    return f"{path.as_uri()}{digest}"


def test_another_channel_s_twin(world):
    first, second = world.root / "fïrst", world.root / "second"
    tiny.channel(first, (OTHER, NEWER))
    tiny.channel(second, (DATA,))
    lock(world, line(second, "tiny-data-1.0-0.conda"))
    world.build(channels=[first.as_uri(), second.as_uri()])
    (record,) = (r for r in records(world.channel, "noarch").values() if r["name"] == "tiny-data")
    data = (second / "noarch" / "tiny-data-1.0-0.conda").read_bytes()
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert not world.build()["changed"]


@pytest.mark.parametrize("hashed", [True, False])
def test_the_other_format_in_an_earlier_channel(world, hashed):
    first, second = world.root / "first", world.root / "second"
    tiny.channel(first, (DATA,))
    tiny.channel(second, (DATA,), "tar.bz2")
    lock(world, line(second, "tiny-data-1.0-0.tar.bz2", hashed=hashed))
    world.build(channels=[first.as_uri(), second.as_uri()])
    assert "tiny-data-1.0-0.tar.bz2" in records(world.channel, "noarch")


def test_all_that_is_missing_is_named(world):
    channel = world.root / "up"
    tiny.channel(channel, (DATA, NEWER))
    place = f"{channel.as_uri()}/noarch"
    lock(
        world,
        f"{place}/tiny-data-0.9-0.conda",
        f"{place}/gone-1.0-0.conda",
    )
    text = world.fail(4, channels=[channel.as_uri()])
    assert "2 of 2 are not upstream" in text
    assert "tiny-data-0.9-0.conda (the newest there is 1.10)" in text
    assert "gone-1.0-0.conda (nothing of that name)" in text


def test_other_content(world):
    channel = world.root / "up"
    tiny.channel(channel, (DATA,))
    lock(world, line(channel, "tiny-data-1.0-0.conda", hashed=False) + f"#sha256:{'0' * 64}")
    text = world.fail(6, channels=[channel.as_uri()])
    assert "is not the file that the given lock pins" in text


def test_pins_that_are_no_whole(world):
    channel = world.root / "up"
    tiny.channel(channel, (DATA, NEEDY))
    lock(world, line(channel, "needy-1.0-0.conda"))
    text = world.fail(4, channels=[channel.as_uri()])
    assert "tiny-data" in text
