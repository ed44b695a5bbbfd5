"""What somebody at the target, a power cut or a full disk can do to what is remembered of recalls."""

from __future__ import annotations

import contextlib
import io
import os
import shutil

import pytest

from repack.agent.storage import AgentStorage
from repack.cli.main import run
from repack.errors import SpaceError
from repack.fs import atomic
from repack.trust import client
from tests.agent import bank as banks
from tests.agent.bank import undisturbed


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """``1`` and ``2`` as they were built; ``3`` is ``2`` with release 2 recalled."""
    root = tmp_path_factory.mktemp("vendor ü")
    before = os.getcwd()  # noqa: PTH109 - to go back to
    os.chdir(root)
    try:
        made = banks.world(root)
        banks.build(made, root / "media", releases=2)
        words = ["recall", "bank", "--release", "2", "--why", "x"]
        with contextlib.redirect_stdout(io.StringIO()):
            assert run([*words, "--channels-dir", str(made.channels)]) == 0
        banks.keep(made, root / "media", 3)
    finally:
        os.chdir(before)
    return root / "media"


@pytest.fixture
def running(media, tmp_path):
    shutil.copytree(media, tmp_path / "media", copy_function=os.link)
    bank = banks.Bank(tmp_path)
    assert bank.install(1)[0] == 0
    return bank


def test_a_cut_between_recall_and_metadata_loses_no_recall(running, monkeypatch):
    """The recall is on the disk first; the metadata, which refuses older media, comes after it."""

    class PowerCut(BaseException):
        pass

    def cut(_copy, _state):
        raise PowerCut

    from repack.agent.install import install

    trusted = (running.folder / "state/trust/targets.json").read_bytes()
    monkeypatch.setattr(client, "_save", cut)
    with pytest.raises(PowerCut):
        install(running.site(), running.medium(3))
    monkeypatch.undo()
    assert (running.folder / "state/trust/targets.json").read_bytes() == trusted
    with undisturbed(running):
        code, said = running.install(2, "--name", "2")
    assert (code, said["error"]) == (16, "recalled")


def test_a_full_disk_believes_nothing_it_cannot_remember(running, monkeypatch):
    def full(path, *_arguments):
        raise SpaceError("the disk is full", where=path)

    trusted = (running.folder / "state/trust/targets.json").read_bytes()
    write = atomic.write

    def write_some(path, data, *arguments):
        return (full if path.name == "recalled.json" else write)(path, data, *arguments)

    monkeypatch.setattr(atomic, "write", write_some)
    with undisturbed(running):
        code, said = running.install(3)
    assert (code, said["error"]) == (60, "target-space")
    assert (running.folder / "state/trust/targets.json").read_bytes() == trusted
    monkeypatch.undo()
    assert running.install(3, "--name", "2")[0] == 16


@pytest.mark.parametrize("target", ["gone", "a list"])
def test_a_link_in_the_place_of_the_list_is_refused(running, tmp_path, target):
    elsewhere = tmp_path / "elsewhere.json"
    if target == "a list":
        elsewhere.write_text("[]")
    (running.folder / "state/recalled.json").symlink_to(elsewhere)
    for words in (["install", "--src-dir", str(running.medium(2))], ["status"], ["rollback"]):
        code, said = running.agent(*words)
        assert (code, said["error"]) == (2, "place"), said
    assert running.in_use == 1
    assert elsewhere.exists() == (target == "a list")


def test_a_list_that_others_may_write_is_refused(running):
    path = running.folder / "state/recalled.json"
    path.write_text("[]")
    path.chmod(0o666)
    code, said = running.install(2)
    assert (code, said["error"]) == (2, "place")


def test_recalls_are_a_labels_own(running, tmp_path):
    """What one label recalls says nothing of another one on the same machine."""
    assert running.install(3, "--name", "2")[0] == 16
    assert AgentStorage(tmp_path / "opt", "bank").recalled() == {2: "x"}
    assert AgentStorage(tmp_path / "opt", "other").recalled() == {}
