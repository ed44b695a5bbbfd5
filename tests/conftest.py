"""What tests of several packages share."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from hypothesis import settings

from repack import urls
from scripts import upstream

# A shell starts what it puts in the background with Ctrl-C ignored, and children inherit that: the
# tests that interrupt something would wait without end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.reporting"]

# How long an example takes is a matter of the machine's load, and no property of what is tested.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
# No test asks the keyring of whoever runs them.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

# For `--hypothesis-profile=long`: a fuzz run of minutes.
settings.register_profile("long", max_examples=20_000, deadline=None)


@pytest.fixture(scope="session")
def small_upstream():
    """A real channel of about fifteen packages, from the package index; never write into it."""
    return upstream.cached(upstream.SMALL)


@pytest.fixture
def own_upstream(small_upstream, tmp_path):
    """A copy of the small upstream, to be changed at will."""
    return shutil.copytree(small_upstream, tmp_path / "upstream")


@pytest.fixture(autouse=True)
def _forget_secrets():
    """A process remembers every secret to hide it; tests reuse words as secrets."""
    yield
    urls._KNOWN.clear()
