"""Promotions, rotations and ceremonies, as python-tuf's own client sees them."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time

import pytest

from repack.channel import metadata_folder
from repack.channel.folder import Channels
from repack.errors import (
    KeyRefusedError,
    MixAndMatchError,
    NoSuchReleaseError,
    RollbackError,
    RootChainError,
    ThresholdError,
)
from repack.keys.keyring import Keyring
from repack.keys.keyset import ROLES, KeySet
from repack.names import LabelName
from repack.trust import operations
from repack.trust.client import refresh
from repack.trust.operations import KeyChange, NewKey, TrustContext
from repack.trust.selection import ReleaseFilter, RollbackState, choose
from repack.trust.sign import Signing
from repack.verify.verdict import Requirements
from repack.verify.verify import verify
from tests import channels

LABEL = LabelName("halkbank")


class Bank:
    """A label with its channel, its keys, and one target that remembers."""

    def __init__(self, folder):
        self.folder = folder
        self.channels = Channels(folder / "channels")
        self.channel = self.channels.published(LABEL)
        self.metadata = self.channel / "repack/metadata"
        self.ring = channels.keyring(folder / "keys")
        self.build(1)
        self.pinned = (self.metadata / "1.root.json").read_bytes()

    def build(self, number):
        channels.build(self.channel, Signing(None, self.keys()), number=number)

    def keys(self, folder=None):
        return Keyring.open(folder or self.folder / "keys", {})

    def office(self, folder=None):
        return TrustContext(self.channels, LABEL, self.keys(folder), channels.now())

    def believed(self):
        """What the target believes, which goes on from what it believed before."""
        return refresh(self.metadata, self.folder / "target", self.pinned)

    def is_sound(self):
        verdict = verify(self.channel, Requirements(root=self.pinned), channels.now())
        return verdict.exit_code == 0 and verdict.metadata == "pinned"


@pytest.fixture
def bank(tmp_path):
    return Bank(tmp_path)


@pytest.fixture(params=["exchange", "file by file"])
def both_ways(request, monkeypatch):
    if request.param == "file by file":
        monkeypatch.setattr(metadata_folder, "exchange", lambda *_: False)


def production(bank, tag=None, number=None):
    wanted = ReleaseFilter(LABEL, "linux-64", "production", tag, number)
    return choose(bank.believed().releases, wanted, RollbackState()).number


def test_promotion(bank, both_ways):
    bank.build(2)
    operations.promote(bank.office(), 1, ["wave-1"])
    assert production(bank, "wave-1") == 1
    operations.promote(bank.office(), 2, ["wave-1"])
    operations.promote(bank.office(), 1, ["wave-2"])
    assert production(bank, "wave-1") == 2
    assert production(bank, "wave-2") == 1
    assert bank.is_sound()
    bank.build(3)
    assert production(bank, "wave-1") == 2
    assert bank.is_sound()
    assert not list(bank.channel.rglob(".repack-*"))


def test_promoting_what_was_never_built(bank):
    with pytest.raises(NoSuchReleaseError):
        operations.promote(bank.office(), 7, ["x"])
    shutil.rmtree(bank.channel)
    with pytest.raises(NoSuchReleaseError):
        operations.promote(bank.office(), 1, ["x"])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p384"])
def test_every_role_can_be_rotated(bank, role, algorithm):
    bank.believed()
    operations.promote(bank.office(), 1, ["a"])
    office = bank.office()
    old = office.keys.keyset.keys_of(role).keys
    key = NewKey(role, algorithm).make(office.keys)
    operations.rotate(office, KeyChange(role, key))
    assert bank.keys().keyset.keys_of(role).keys == (key.keyid,) != old
    assert production(bank, "a") == 1
    assert bank.is_sound()
    bank.build(2)
    assert {one.number for one in bank.believed().releases} == {1, 2}
    # a target that was only ever given the first root gets here too
    assert refresh(bank.metadata, bank.folder / "fresh", bank.pinned).releases


def test_root_chain_of_many_links(bank):
    for _ in range(4):
        office = bank.office()
        operations.rotate(office, KeyChange("root", NewKey("root").make(office.keys)))
    names = sorted(path.name for path in bank.metadata.glob("*.root.json"))
    assert names == [f"{number}.root.json" for number in range(1, 6)]
    assert bank.is_sound()
    assert bank.believed().metadata.root.version == 5
    newest = (bank.metadata / "5.root.json").read_bytes()
    assert verify(bank.channel, Requirements(root=newest), channels.now()).exit_code == 0
    (bank.metadata / "3.root.json").unlink()
    assert (
        verify(bank.channel, Requirements(root=newest), channels.now()).refusals[0].kind
        == "root-chain"
    )


def test_thresholds(bank):
    office = bank.office()
    for _ in range(2):
        office.keys.keyset = office.keys.keyset.with_key(NewKey("root").make(office.keys))
    office.keys.save()
    operations.rotate(office, KeyChange("root", threshold=2))
    assert bank.believed().metadata.root.roles["root"].threshold == 2
    assert bank.is_sound()
    data = json.loads((bank.metadata / "2.root.json").read_bytes())
    assert len(data["signatures"]) == 3
    data["signatures"] = data["signatures"][:1]
    (bank.metadata / "2.root.json").write_text(json.dumps(data))
    with pytest.raises(RootChainError):
        refresh(bank.metadata, bank.folder / "fresh", bank.pinned)


def test_development_ends_with_the_last_development_key(bank):
    assert bank.believed().metadata.development
    for role in ROLES:
        office = bank.office()
        assert office.keys.keyset.development
        operations.rotate(office, KeyChange(role, NewKey(role).make(office.keys)))
    assert not bank.keys().keyset.development
    assert not bank.believed().metadata.development
    assert bank.is_sound()


def test_interrupted_rotation_is_done_by_the_next_signing(bank):
    office = bank.office()
    office.keys.keyset = office.keys.keyset.with_replaced_key(
        NewKey("root").make(office.keys), None
    )
    office.keys.save()
    bank.build(2)
    assert bank.believed().metadata.root.version == 2
    assert bank.is_sound()


@pytest.mark.slow
def test_killed_at_any_instant(bank):
    """A reader always finds a set that holds together, and the next promotion ends well."""
    bank.believed()
    dice = random.Random(7)
    command = [sys.executable, "-m", "repack", "promote", LABEL, "--release", "1"]
    command += ["--keys", str(bank.folder / "keys"), "--channels-dir", str(bank.channels.root)]
    began = time.monotonic()
    subprocess.run([*command, "--tag", "whole"], check=True, capture_output=True)
    whole = time.monotonic() - began
    for number in range(25):
        with subprocess.Popen(
            [*command, "--tag", f"t{number}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(whole * dice.uniform(0.5, 1.05))
            process.kill()
        assert bank.is_sound(), number
        assert production(bank, "whole") == 1
    operations.promote(bank.office(), 1, ["last"])
    assert production(bank, "last") == 1
    assert bank.is_sound()
    assert not list(bank.folder.rglob(".repack-metadata"))


# ceremonies


@pytest.fixture
def safe(bank):
    """Another machine, with keys for root and production that the build machine never sees."""
    folder = bank.folder / "safe"
    ring = Keyring.open_or_begin(folder, {})
    for role in ("root", "production"):
        ring.keyset = ring.keyset.with_key(ring.generate(role, "ed25519"))
    ring.save()
    return folder


def public_key(folder, role):
    keys = Keyring.open(folder, {}).keyset
    (keyid,) = keys.keys_of(role).keys
    return keys.keys[keyid]


def move_to_safe(bank, safe, role):
    """Rotate a role to the key in the safe, by a ceremony."""
    office, file = bank.office(), bank.folder / "ceremony.json"
    said = operations.prepare_rotation(office, KeyChange(role, public_key(safe, role)), file)
    assert any(line.startswith("  production: 1 of") or "root" in line for line in said)
    before = (bank.folder / "keys/keys.json").read_bytes()
    with pytest.raises(KeyRefusedError, match="signatures are missing"):
        operations.finish(bank.office(), file)
    assert (bank.folder / "keys/keys.json").read_bytes() == before
    _, used = operations.sign(Keyring.open(safe, {}), file)
    assert used
    operations.finish(bank.office(), file)


@pytest.mark.parametrize("role", ["root", "production"])
def test_ceremony_rotates(bank, safe, role):
    bank.believed()
    move_to_safe(bank, safe, role)
    assert bank.is_sound()
    assert bank.believed().releases
    bank.build(2)
    assert bank.is_sound()


def test_ceremony_promotes_with_a_key_that_was_never_here(bank, safe):
    move_to_safe(bank, safe, "production")
    with pytest.raises(KeyRefusedError) as caught:
        operations.promote(bank.office(), 1, ["a"])
    assert "ceremony" in caught.value.text()
    file = bank.folder / "promotion.json"
    said = operations.prepare_promotion(bank.office(), 1, ["a"], file)
    assert any("release 1 for noarch, linux-64, win-64, tags a" in line for line in said)
    there, used = operations.sign(Keyring.open(safe, {}), file)
    assert there == said
    assert len(used) == 1
    operations.finish(bank.office(), file)
    assert production(bank, "a") == 1
    assert bank.is_sound()


def test_a_signer_who_does_not_agree_signs_nothing(bank, safe):
    move_to_safe(bank, safe, "production")
    file = bank.folder / "promotion.json"
    said = operations.prepare_promotion(bank.office(), 1, ["a"], file)
    before = file.read_bytes()

    def refuse(what):
        assert what[: len(said)] == said
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        operations.sign(Keyring.open(safe, {}), file, refuse)
    assert file.read_bytes() == before


def test_nobody_signs_twice_or_what_is_not_his(bank, safe):
    move_to_safe(bank, safe, "production")
    file = bank.folder / "promotion.json"
    operations.prepare_promotion(bank.office(), 1, ["a"], file)
    with pytest.raises(KeyRefusedError, match="no key here"):
        operations.sign(bank.keys(), file)
    operations.sign(Keyring.open(safe, {}), file)
    with pytest.raises(KeyRefusedError, match="no key here"):
        operations.sign(Keyring.open(safe, {}), file)


def test_a_key_signs_only_for_its_own_role(bank, safe):
    """The file says that the root key may sign production metadata; the safe knows better."""
    move_to_safe(bank, safe, "production")
    file = bank.folder / "promotion.json"
    operations.prepare_promotion(bank.office(), 1, ["a"], file)
    document = json.loads(file.read_bytes())
    document["signers"]["production"] = [public_key(safe, "root").keyid]
    file.write_text(json.dumps(document))
    with pytest.raises(KeyRefusedError):
        operations.sign(Keyring.open(safe, {}), file)


def test_two_of_three_sign_one_after_the_other(bank):
    office, rings = bank.office(), []
    for name in ("anna", "bert", "cleo"):
        ring = Keyring.open_or_begin(bank.folder / name, {})
        ring.keyset = ring.keyset.with_key(ring.generate("production", "ecdsa-p384"))
        ring.save()
        rings.append(ring)
        office.keys.keyset = office.keys.keyset.with_key(
            public_key(bank.folder / name, "production")
        )
    development = bank.keys().keyset.keys_of("production").keys[0]
    kept = tuple(k for k in office.keys.keyset.keys_of("production").keys if k != development)
    roles = {
        **office.keys.keyset.roles,
        "production": type(office.keys.keyset.keys_of("root"))(2, kept),
    }
    office.keys.keyset = KeySet(roles, office.keys.keyset.keys)
    file = bank.folder / "f.json"
    operations.prepare_rotation(office, None, file)
    operations.sign(rings[0], file)
    with pytest.raises(KeyRefusedError, match="missing for production"):
        operations.finish(bank.office(), file)
    operations.sign(rings[2], file)
    operations.finish(bank.office(), file)
    operations.prepare_promotion(bank.office(), 1, ["a"], file)
    for ring in rings[1:]:
        operations.sign(ring, file)
    operations.finish(bank.office(), file)
    assert production(bank, "a") == 1
    assert bank.is_sound()


def test_first_signing_in_a_ceremony(tmp_path):
    """Offline root, targets and production from the first day: nothing is published before."""
    safe, here = tmp_path / "safe", tmp_path / "keys"
    offline = ("root", "targets", "production")
    for role in offline:
        operations.add_key(safe, NewKey(role, "ecdsa-p384"), {}, None)
    for role in ROLES:
        new = NewKey(role)
        if role in offline:
            keys = Keyring.open(safe, {}).keyset
            from repack.keys.private_key import to_public_pem

            pem = to_public_pem(keys.keys[keys.keys_of(role).keys[0]]).encode()
            new = NewKey(role, public=pem)
        operations.add_key(here, new, {}, None)
    ring = Keyring.open(here, {})
    place = Channels(tmp_path / "channels")
    office, file = TrustContext(place, LABEL, ring, channels.now()), tmp_path / "c.json"
    with pytest.raises(KeyRefusedError):
        channels.build(place.published(LABEL), Signing(None, ring))
    operations.prepare_rotation(office, None, file)
    operations.sign(Keyring.open(safe, {}), file)
    operations.finish(office, file)
    channels.build(place.published(LABEL), Signing(None, Keyring.open(here, {})))
    verdict = verify(place.published(LABEL), Requirements(), channels.now())
    assert (verdict.exit_code, verdict.development) == (0, False)


def test_a_stale_ceremony_is_refused(bank, safe):
    move_to_safe(bank, safe, "production")
    first, second = bank.folder / "1.json", bank.folder / "2.json"
    for file, tag in ((first, "a"), (second, "b")):
        operations.prepare_promotion(bank.office(), 1, [tag], file)
        operations.sign(Keyring.open(safe, {}), file)
    operations.finish(bank.office(), first)
    for file in (first, second):
        with pytest.raises(MixAndMatchError, match="since the ceremony"):
            operations.finish(bank.office(), file)
    assert production(bank, "a") == 1


def test_a_changed_ceremony_is_refused(bank, safe):
    move_to_safe(bank, safe, "production")
    file = bank.folder / "p.json"
    operations.prepare_promotion(bank.office(), 1, ["a"], file)
    operations.sign(Keyring.open(safe, {}), file)
    document = json.loads(file.read_bytes())
    targets = document["metadata"]["production"]["signed"]["targets"]
    targets["releases/1/manifest.json"]["custom"]["tags"] = ["everybody"]
    file.write_text(json.dumps(document))
    with pytest.raises(KeyRefusedError, match="signatures are missing"):
        operations.finish(bank.office(), file)
    assert not (bank.believed().metadata.releases("production"))


def test_a_key_set_that_was_not_signed_for_is_refused(bank, safe):
    file = bank.folder / "r.json"
    operations.prepare_rotation(bank.office(), KeyChange("root", public_key(safe, "root")), file)
    operations.sign(Keyring.open(safe, {}), file)
    document = json.loads(file.read_bytes())
    extra = document["keyset"]["roles"]["targets"]["keys"]
    extra.append(document["keyset"]["roles"]["ci"]["keys"][0])
    file.write_text(json.dumps(document))
    with pytest.raises(KeyRefusedError, match="differs from the one"):
        operations.finish(bank.office(), file)
    assert bank.believed().metadata.root.version == 1


def test_ceremony_of_another_label(bank, safe):
    file = bank.folder / "p.json"
    operations.prepare_promotion(bank.office(), 1, ["a"], file)
    document = json.loads(file.read_bytes())
    file.write_text(json.dumps({**document, "label": "other"}))
    with pytest.raises(MixAndMatchError):
        operations.finish(bank.office(), file)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"label": 7},
        {"metadata": []},
        {"signers": {}},
        {"metadata": {"timestamp": {}}},
        {"metadata": {"../x": {}}},
        {"metadata": {"production": {}}},
        {"metadata": {"production": []}},
        {"keyset": 7},
    ],
    ids=str,
)
def test_malformed_ceremonies(bank, change):
    from repack.errors import RepackError

    file = bank.folder / "p.json"
    operations.prepare_promotion(bank.office(), 1, ["a"], file)
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **change}))
    with pytest.raises(RepackError) as caught:
        operations.sign(bank.keys(), file)
    assert caught.value.exit_code in {6, 11}


# what a target notices


def test_a_target_notices_older_metadata(bank):
    old = metadata_folder.read_folder(bank.metadata)
    operations.promote(bank.office(), 1, ["a"])
    bank.believed()
    metadata_folder.write_folder(bank.metadata, old)
    with pytest.raises(RollbackError):
        bank.believed()


def test_a_lost_key_cannot_be_replaced_by_a_new_one(bank):
    bank.believed()
    shutil.rmtree(bank.folder / "keys")
    channels.keyring(bank.folder / "keys")
    with pytest.raises(KeyRefusedError):
        bank.build(2)


def test_the_builder_does_not_go_on_from_forged_metadata(bank):
    operations.promote(bank.office(), 1, ["a"])
    path = bank.metadata / "production.json"
    path.write_text(path.read_text().replace('"a"', '"b"'))
    with pytest.raises(ThresholdError):
        operations.promote(bank.office(), 1, ["c"])
