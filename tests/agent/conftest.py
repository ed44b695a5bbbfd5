from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.agent import bank as banks


@pytest.fixture(scope="session")
def vendor(tmp_path_factory):
    """Three releases, signed with development keys, after_install none; never write into it."""
    root = tmp_path_factory.mktemp("vendor")
    before = Path.cwd()
    os.chdir(root)
    try:
        return banks.build(banks.world(root), root / "media")
    finally:
        os.chdir(before)


@pytest.fixture
def bank(vendor, tmp_path):
    """A target, and the media as a copy of its own."""
    shutil.copytree(vendor, tmp_path / "media", copy_function=os.link)
    return banks.Bank(tmp_path)


@pytest.fixture
def running(bank):
    """Release 1 runs; what follows must not disturb it."""
    assert bank.install(1)[0] == 0
    return bank
