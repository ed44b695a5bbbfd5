"""What is kept of a build that failed."""

from __future__ import annotations

import datetime as dt

import pytest

from repack.channel.folder import Channels
from repack.errors import BusyError, FetchError, ProofError, UsageError
from repack.names import LabelName
from repack.report import failures

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
BANK = LabelName("bank")


@pytest.fixture
def channels(tmp_path):
    return Channels(tmp_path / "channels")


def fail(channels, error):
    with pytest.raises(type(error)), failures.recording_failure(channels, BANK, NOW):
        raise error


def test_a_failure_is_kept_without_secrets_and_short(channels):
    url = "https://user:pw@conda.example.org/t/tk-secret/x"
    fail(channels, FetchError("no answer", where=url, got="\u202e" + "x" * 5000))
    found = failures.last_failure(channels, BANK)
    assert (found.when, found.kind) == ("2026-11-20T12:00:00Z", "fetch-failed")
    assert "tk-secret" not in found.what
    assert "pw" not in found.what
    assert len(found.what) <= 240
    assert found.what.isprintable()
    assert failures.labels(channels) == ("bank",)


def test_the_newest_counts_and_success_forgets(channels):
    fail(channels, FetchError("no answer"))
    fail(channels, ProofError("not the lock"))
    assert failures.last_failure(channels, BANK).kind == "proof-failed"
    with failures.recording_failure(channels, BANK, NOW):
        assert failures.last_failure(channels, BANK) is not None
    assert failures.last_failure(channels, BANK) is None


@pytest.mark.parametrize("error", [UsageError("no such label"), BusyError("busy")])
def test_what_is_no_failed_build_is_not_kept(channels, error):
    fail(channels, error)
    assert failures.last_failure(channels, BANK) is None


def test_a_place_that_cannot_be_written_hides_no_error(channels):
    channels.root.write_text("a file where the folder should be")
    fail(channels, ProofError("not the lock"))
    assert failures.last_failure(channels, BANK) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"when": 1}'])
def test_a_damaged_record_is_none(channels, data):
    fail(channels, ProofError("not the lock"))
    (channels.history(BANK) / "last-failure.json").write_bytes(data)
    assert failures.last_failure(channels, BANK) is None
