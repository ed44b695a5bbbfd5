"""A vendor goes back to an older release: targets that never had one install it."""

from __future__ import annotations

import shutil

import pytest

from tests.agent import bank as banks


@pytest.fixture
def restored(tmp_path, monkeypatch):
    """A vendor with three releases who made the first the published one again; its channel."""
    monkeypatch.chdir(tmp_path)
    world = banks.world(tmp_path)
    banks.build(world, tmp_path / "media", releases=3)
    assert world.repack("restore", "bank", "1") == 0
    shutil.copytree(world.channels, tmp_path / "media" / "restored", symlinks=True)
    return tmp_path


@pytest.mark.slow
def test_a_fresh_target_installs(restored):
    bank = banks.Bank(restored)
    code, document = bank.install("restored")
    assert (code, document.get("release")) == (0, 1), document
    code, document = bank.agent("run")
    assert code in {0, 40}, document
    assert bank.in_use == 1


@pytest.mark.slow
def test_a_target_that_had_a_newer_one_is_not_led_back_unasked(restored):
    bank = banks.Bank(restored)
    assert bank.install(3)[0] == 0
    assert bank.agent("run")[0] in {0, 40}
    code, document = bank.install("restored")
    assert code != 1
    assert bank.in_use == 3, document
    code, document = bank.install("restored", "--name", "1")
    assert code == 0, document
    assert bank.in_use == 1
