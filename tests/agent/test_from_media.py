"""From `repack medium` to the target: several releases and labels on one stick."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil

import pytest

from repack.agent.medium import Medium
from repack.cli.main import run
from repack.errors import ContentMissingError
from repack.file_entry import FileEntry
from repack.names import Digest, RelPath
from tests import channels
from tests.agent import bank as banks
from tests.carrying import volume_of


@pytest.fixture
def vendor(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return banks.world(tmp_path)


def write(made, stick, name="bank"):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = run(
            [
                "medium", name, str(stick), "--labels-dir", str(made.labels),
                "--channels-dir", str(made.channels), "--store", str(made.store),
            ]
        )  # fmt: skip
    assert code == 0


def release(made, stick, number):
    packages = ["tiny-app"] if number == 1 else ["tiny-data", "pip"]
    made.build(packages=packages, **banks.bump(number))
    write(made, stick)


def target(made, tmp_path):
    bank = banks.Bank(tmp_path / "target")
    bank.media.mkdir()
    shutil.copy(made.channel / "repack/metadata/1.root.json", bank.media / "root.json")
    return bank


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "target").mkdir()


def test_two_releases_on_one_stick(vendor, tmp_path):
    stick = tmp_path / "stick"
    release(vendor, stick, 1)
    bank = target(vendor, tmp_path)
    release(vendor, stick, 2)
    assert bank.agent("install", "--src-dir", str(stick), "--name", "1")[0] == 0
    assert bank.in_use == 1
    assert bank.agent("install", "--src-dir", str(stick))[0] == 0
    assert bank.in_use == 2
    assert bank.agent("rollback")[0] == 0
    assert bank.in_use == 1


def test_two_labels_on_a_stick_without_links(vendor, tmp_path):
    with volume_of("exfat", tmp_path) as stick:
        vendor.name = "other"
        vendor.build(label="other", packages=["tiny-app"], **banks.bump(1))
        write(vendor, stick, "other")
        vendor.name = "bank"
        vendor.build(label="bank", packages=["tiny-app"], **banks.bump(1))
        write(vendor, stick)
        assert not (stick / "bank/noarch/tiny-app-2.0-py_0.conda").exists()
        bank = target(vendor, tmp_path)
        assert bank.agent("install", "--src-dir", str(stick))[0] == 0
        assert bank.in_use == 1


def test_a_neighbours_package_is_checked(tmp_path):
    data = b"package" * 100
    parcel = FileEntry(RelPath("noarch/a-1-0.conda"), 700, Digest(hashlib.sha256(data).hexdigest()))
    other = tmp_path / "other" / parcel.path
    other.parent.mkdir(parents=True)
    other.write_bytes(data)
    (tmp_path / "bank").mkdir()
    medium = Medium(tmp_path / "bank")
    medium.check(parcel, lambda _count: None)
    channels.flip(other)
    with pytest.raises(ContentMissingError):
        medium.check(parcel, lambda _count: None)
