"""``repack store`` as a person types it."""

from __future__ import annotations

import hashlib
import json

import pytest

from repack.cli.main import run
from repack.store.store import Store


@pytest.fixture
def place(tmp_path):
    """A store of two archives and a channel that holds one of them."""
    store = Store(tmp_path / "store")
    (tmp_path / "file").write_bytes(b"held")
    held = store.add(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"alone")
    store.add(tmp_path / "file")
    folder = tmp_path / "channels" / "bank" / "noarch"
    folder.mkdir(parents=True)
    (folder / "a-1-0.conda").hardlink_to(held)
    row = {"sha256": hashlib.sha256(b"held").hexdigest()}
    (folder / "repodata.json").write_text(json.dumps({"packages.conda": {"a-1-0.conda": row}}))
    return tmp_path


def repack(place, *arguments, channels=True):
    where = ["--channels-dir", str(place / "channels")] if channels else []
    return run(["store", *arguments, "--store", str(place / "store"), *where])


def test_list(place, capsys):
    assert repack(place, "list") == 0
    out = capsys.readouterr().out
    assert "a-1-0.conda" in out
    assert "bank" in out
    assert "2 packages, 9 B" in out


def test_list_as_json(place, capsys):
    assert repack(place, "list", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bytes"] == 9
    assert {(row["fn"], tuple(row["labels"]), row["links"]) for row in document["packages"]} == {
        ("a-1-0.conda", ("bank",), 1),
        (None, (), 0),
    }


def test_verify(place, capsys):
    assert repack(place, "verify", channels=False) == 0
    assert "2 of 2 packages are good" in capsys.readouterr().out
    path = Store(place / "store").path(hashlib.sha256(b"held").hexdigest())
    path.chmod(0o644)
    path.write_bytes(b"hurt")
    assert repack(place, "verify", channels=False) == 6
    out = capsys.readouterr().out
    assert "damaged and dropped" in out
    assert "1 channel files are it too" in out
    assert repack(place, "verify", "--json", channels=False) == 0
    assert json.loads(capsys.readouterr().out)["damaged"] == []


def test_gc(place, capsys):
    assert repack(place, "gc", "--json") == 0
    assert json.loads(capsys.readouterr().out)["files"] == 0, "too young"
    assert repack(place, "gc", "--grace", "0") == 0
    assert "removed 1 files, 5 B; 1 packages stay" in capsys.readouterr().out
    assert (place / "channels" / "bank" / "noarch" / "a-1-0.conda").read_bytes() == b"held"


def test_gc_without_channels_touches_nothing(place, capsys):
    assert run(["store", "gc", "--store", str(place / "store"), "--channels-dir", "gone"]) == 2
    assert "no channels here" in capsys.readouterr().err
    assert len(Store(place / "store").list()) == 2
