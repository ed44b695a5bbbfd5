"""``repack sync`` as a person types it."""

from __future__ import annotations

import json

import pytest

from repack.cli.main import run
from repack.cli.shared.transfer import parse_rate
from repack.errors import UsageError
from tests import channels
from tests.carrying import content


@pytest.fixture
def vendor(tmp_path):
    channels.build(tmp_path / "channels" / "halkbank")
    return tmp_path


def sync(vendor, *arguments):
    place = ["--channels-dir", str(vendor / "channels")]
    return run(["sync", "halkbank", str(vendor / "share"), *place, *arguments])


def test_sync(vendor, capsys):
    assert sync(vendor) == 0
    assert "release 1, read back and right" in capsys.readouterr().out
    assert content(vendor / "share") == content(vendor / "channels/halkbank")


def test_json(vendor, capsys):
    assert sync(vendor, "--json", "--bwlimit", "10M") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["release"], len(said["copied"]), said["verified"]) == (1, 20, 20)
    channels.build(vendor / "channels/halkbank", number=2)
    assert sync(vendor, "--json", "--grace", "0.1") == 0
    shown = capsys.readouterr()
    assert "waiting 0.1 s" in shown.err
    assert len(json.loads(shown.out)["removed"]) == 3


def test_dry_run(vendor, capsys):
    assert sync(vendor, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "copy    noarch/b-1-0.tar.bz2" in out
    assert "would be copied" in out
    assert not (vendor / "share").exists()


def test_errors_have_their_codes(vendor, capsys):
    (vendor / "share").mkdir()
    (vendor / "share/mine.txt").write_bytes(b"")
    assert sync(vendor, "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"] == "usage"
    assert run(["sync", "nobody", "x", "--channels-dir", str(vendor / "channels")]) == 2


@pytest.mark.parametrize(
    ("text", "number"),
    [(None, None), ("0", None), ("500", 500), ("500k", 512_000), ("1.5M", 1_572_864),
     ("2 MiB/s", 2 << 20), ("1g", 1 << 30)],
)  # fmt: skip
def test_rates(text, number):
    assert parse_rate(text) == number


def test_no_rate():
    with pytest.raises(UsageError, match="rate"):
        parse_rate("fast")
