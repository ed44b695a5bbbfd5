"""Recalls in signed metadata: they are only ever added to, and every reader says the same."""

from __future__ import annotations

import json

import pytest

from repack.channel import metadata_folder
from repack.errors import (
    KeyRefusedError,
    MetadataInvalidError,
    MixAndMatchError,
    NoSuchReleaseError,
    RecalledError,
    RollbackError,
    ThresholdError,
    UsageError,
)
from repack.keys.keyring import Keyring
from repack.trust import operations
from repack.trust.metadata import MetadataSet
from repack.trust.operations import KeyChange
from repack.trust.recalls import RECALLED, parse_recalls
from repack.trust.selection import (
    ReleaseFilter,
    RollbackState,
    choose,
    fitting_releases,
    passed_over,
)
from repack.trust.sign import outlook
from repack.trust.summary import summarize_metadata
from repack.verify.verdict import Requirements
from repack.verify.verify import verify
from tests import channels
from tests.trust.test_operations import LABEL, Bank, public_key
from tests.trust.test_selection import SIGNED, release, wanted

WHY = "CVE-2026-1234"


@pytest.fixture
def bank(tmp_path):
    bank = Bank(tmp_path)
    bank.build(2)
    return bank


def recalled(bank):
    return bank.believed().metadata.recalled


def test_a_recall_is_signed_and_kept_by_everything_that_signs_later(bank):
    operations.recall(bank.office(), [1], WHY)
    assert recalled(bank) == {1: WHY}
    operations.promote(bank.office(), 2, ["wave-1"])
    assert recalled(bank) == {1: WHY}
    bank.build(3)
    assert recalled(bank) == {1: WHY}
    operations.rotate(bank.office(), KeyChange("ci", bank.keys().generate("ci", "ed25519")))
    assert recalled(bank) == {1: WHY}
    operations.recall(bank.office(), [3, 2], "  wrong prices ")
    assert recalled(bank) == {1: WHY, 2: "wrong prices", 3: "wrong prices"}
    assert bank.is_sound()


def test_all_readers_of_the_metadata_say_the_same(bank):
    operations.recall(bank.office(), [1], WHY)
    files = metadata_folder.read_folder(bank.metadata)
    assert MetadataSet.load(files, LABEL, "x").recalled == {1: WHY}
    assert summarize_metadata(files).recalled == {1: WHY}
    assert outlook(files, channels.now(), 2) == outlook(files, channels.now())
    assert outlook(files, channels.now(), 1)[0] == f"release 1 was recalled: {WHY}"
    assert not any("recalled" in text for text in bank_verdict(bank).warnings)
    operations.recall(bank.office(), [2], "two")
    verdict = bank_verdict(bank)
    assert "release 2 was recalled: two" in verdict.warnings
    assert verdict.exit_code == 0


def bank_verdict(bank):
    return verify(bank.channel, Requirements(root=bank.pinned), channels.now())


@pytest.mark.parametrize("numbers", [[3], [1, 7]])
def test_only_what_was_signed_can_be_recalled(bank, numbers):
    before = metadata_folder.read_folder(bank.metadata)
    with pytest.raises(UsageError) as caught:
        operations.recall(bank.office(), numbers, WHY)
    assert str(numbers[-1]) in caught.value.what
    assert caught.value.expected == "1, 2"
    assert "repack history halkbank" in caught.value.hint
    assert metadata_folder.read_folder(bank.metadata) == before


@pytest.mark.parametrize("why", ["", " \t", "a\nb", "\x1b[31m", "x" * 301])
def test_a_reason_is_one_line_that_a_terminal_can_show(bank, why):
    with pytest.raises(UsageError, match="no reason"):
        operations.recall(bank.office(), [1], why)
    assert recalled(bank) == {}


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        7,
        [7],
        [{"release": 1}],
        [{"release": 0, "why": "x"}],
        [{"release": True, "why": "x"}],
        [{"release": "1", "why": "x"}],
        [{"release": 1, "why": ""}],
        [{"release": 1, "why": "a\nb"}],
        [{"release": 1, "why": "x"}, {"release": 1, "why": "y"}],
    ],
    ids=str,
)
def test_malformed_recalls_are_refused(rows):
    with pytest.raises(MetadataInvalidError):
        parse_recalls(rows, "targets.json")
    signed = {"signed": {RECALLED: rows}}
    assert summarize_metadata({"targets.json": json.dumps(signed).encode()}).recalled == {}


def test_a_recall_needs_the_key_of_targets(bank):
    """The keys of a build are not enough, and nor is writing it into the file."""
    path = bank.metadata / "targets.json"
    document = json.loads(path.read_bytes())
    document["signed"][RECALLED] = [{"release": 2, "why": "forged"}]
    path.write_text(json.dumps(document))
    with pytest.raises((ThresholdError, MixAndMatchError)):
        bank.believed()


def test_the_metadata_from_before_a_recall_is_older(bank):
    old = metadata_folder.read_folder(bank.metadata)
    operations.recall(bank.office(), [2], WHY)
    bank.believed()
    metadata_folder.write_folder(bank.metadata, old)
    with pytest.raises(RollbackError):
        bank.believed()


# ceremonies


@pytest.fixture
def safe(bank):
    """Another machine, with a key for targets that the build machine never sees."""
    folder, file = bank.folder / "safe", bank.folder / "rotation.json"
    ring = Keyring.open_or_begin(folder, {})
    ring.keyset = ring.keyset.with_key(ring.generate("targets", "ed25519"))
    ring.save()
    change = KeyChange("targets", public_key(folder, "targets"))
    operations.prepare_rotation(bank.office(), change, file)
    operations.sign(Keyring.open(folder, {}), file)
    operations.finish(bank.office(), file)
    return folder


def recall_in_a_ceremony(bank, safe, number, why):
    file = bank.folder / "recall.json"
    said = operations.prepare_recall(bank.office(), [number], why, file)
    there, used = operations.sign(Keyring.open(safe, {}), file)
    assert there[: len(said)] == said
    assert len(used) == 1
    operations.finish(bank.office(), file)
    return said


def test_a_ceremony_recalls_and_shows_the_signer_what(bank, safe):
    with pytest.raises(KeyRefusedError) as caught:
        operations.recall(bank.office(), [1], WHY)
    assert "ceremony" in caught.value.text()
    assert recalled(bank) == {}
    said = recall_in_a_ceremony(bank, safe, 1, WHY)
    assert f"  release 1 is RECALLED for good, new here: {WHY}" in said
    said = recall_in_a_ceremony(bank, safe, 2, "x")
    assert f"  release 1 is RECALLED for good: {WHY}" in said
    assert "  release 2 is RECALLED for good, new here: x" in said
    assert recalled(bank) == {1: WHY, 2: "x"}
    assert bank.is_sound()


def test_a_ceremony_that_comes_back_without_a_recall_is_refused(bank, safe):
    """Whoever prepares the file may be led astray, and a signer may not look."""
    recall_in_a_ceremony(bank, safe, 1, WHY)
    file = bank.folder / "recall.json"
    operations.prepare_recall(bank.office(), [2], "x", file)
    document = json.loads(file.read_bytes())
    del document["metadata"]["targets"]["signed"][RECALLED][0]
    file.write_text(json.dumps(document))
    operations.sign(Keyring.open(safe, {}), file)
    with pytest.raises(MixAndMatchError, match="recall of release 1 has gone"):
        operations.finish(bank.office(), file)
    assert recalled(bank) == {1: WHY}


# which release a target takes


def seen(*numbers, highest=0):
    return RollbackState(release=highest, recalled=dict.fromkeys(numbers, WHY))


def test_the_newest_that_was_not_recalled_is_taken():
    assert choose(SIGNED, wanted(), seen()).number == 2
    assert choose(SIGNED, wanted(), seen(2)).number == 1
    assert choose(SIGNED, wanted("production", "wave-1"), seen(2)).number == 1
    assert [r.number for r in fitting_releases(SIGNED, wanted(), seen(1))] == [2]
    assert passed_over(SIGNED, wanted(), 1, {2: WHY}) == {
        2: f"it was recalled: {WHY}",
        3: "it is for noarch, win-64",
        4: "it is signed for production, and this target takes ci",
    }


def test_a_recalled_one_is_not_taken_by_name_either():
    for kind in ("ci", "production"):
        with pytest.raises(RecalledError, match=f"release 2 was recalled: {WHY}") as caught:
            choose(SIGNED, wanted(kind, number=2), seen(2))
        assert (caught.value.exit_code, caught.value.kind) == (16, "recalled")
    assert choose(SIGNED, wanted(number=1), seen(2)).number == 1
    with pytest.raises(NoSuchReleaseError):
        choose(SIGNED, wanted(number=9), seen(9))


def test_nothing_is_left_after_recalls():
    with pytest.raises(RecalledError) as caught:
        choose(SIGNED, wanted(), seen(1, 2))
    assert caught.value.what.startswith("release 2 was recalled: ")
    assert "release 1 was recalled: " in caught.value.what


def test_a_recall_alone_takes_no_target_back_to_an_older_release():
    with pytest.raises(RecalledError) as caught:
        choose(SIGNED, wanted(), seen(2, highest=2))
    assert "--name 1" in caught.value.hint
    assert choose(SIGNED, wanted(number=1), seen(2, highest=2)).number == 1
    with pytest.raises(RollbackError):
        choose(SIGNED, wanted(), seen(1, highest=7))
    newer = [*SIGNED, release(5)]
    assert choose(newer, wanted(), seen(2, highest=2)).number == 5
    assert ReleaseFilter("bank", "linux-64", "ci") == wanted()
