"""What tests of several floors share."""

from __future__ import annotations

import shutil

import pytest

from scripts import upstream


@pytest.fixture(scope="session")
def small_upstream():
    """A real channel of about fifteen packages, from the package index; never write into it."""
    return upstream.cached(upstream.SMALL)


@pytest.fixture
def own_upstream(small_upstream, tmp_path):
    """A copy of the small upstream, to be changed at will."""
    return shutil.copytree(small_upstream, tmp_path / "upstream")
