"""Ceremonies attacked on the way: the signer sees what he signs, a forgery ends at the target."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata
from tuf.api.serialization.json import JSONSerializer

from repack.cli.main import run
from repack.errors import (
    IntegrityError,
    KeyRefusedError,
    MetadataInvalidError,
    MixAndMatchError,
)
from repack.keys.keyring import Keyring
from repack.keys.keyset import ROLES, key_id
from repack.keys.private_key import to_public_pem
from repack.trust import ceremony, operations
from repack.trust.operations import KeyChange, NewKey, TrustContext
from tests import channels
from tests.channels import SUBDIRS
from tests.hostile.site import LABEL, Site


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    operations.promote(site.office(), 1, ["first"])
    kept = site.place.history(LABEL) / "1/repack/manifest.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes((site.channel / "repack/manifest.json").read_bytes())
    site.release()
    return site


@pytest.fixture
def file(site, tmp_path):
    """Release 2, prepared for the signer, who has the same key ring on another machine."""
    file = tmp_path / "ceremony ä.json"
    ring = site.ring
    keyid = ring.keyset.keys_of("production").keys[0]
    # The build machine has no production key: what it prepares lacks that signature.
    here = Keyring(ring.folder, ring.keyset, {})
    here._signers[keyid] = None
    operations.prepare_promotion(
        TrustContext(site.place, LABEL, here, channels.now()), 2, ["wave-1"], file
    )
    return file


def edit(file, change):
    document = json.loads(file.read_bytes())
    change(document)
    file.write_text(json.dumps(document))


def sign(site, file):
    return operations.sign(Keyring.open(site.ring.folder, {}), file)


def test_an_identifier_is_the_hash_of_its_key(site):
    for key in site.ring.keyset.keys.values():
        assert key.keyid == key_id(key.keytype, key.scheme, key.public)
    for algorithm in ("ed25519", "ecdsa-p384"):
        key = NewKey("root", algorithm).make(site.ring)
        assert key.keyid == key_id(key.keytype, key.scheme, key.public)
        public = load_pem_public_key(to_public_pem(key).encode())
        assert SSlibKey.from_crypto(public).keyid == key.keyid
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert key.fingerprint == hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("role", ROLES)
def test_a_key_ring_with_another_key_under_an_identifier(site, role, capsys):
    path = site.ring.folder / "keys.json"

    def change(document):
        (keyid,) = document["roles"][role]["keys"]
        document["keys"][keyid]["keyval"]["public"] = "ab" * 32

    edit(path, change)
    with pytest.raises(KeyRefusedError, match="identifier"):
        Keyring.open(site.ring.folder, {})
    assert run(["key", "show", "--keys", str(site.ring.folder)]) == 6
    assert "Traceback" not in capsys.readouterr().err


def test_one_key_under_two_identifiers_does_not_reach_a_threshold_of_two(site):
    def change(document):
        (keyid,) = document["roles"]["root"]["keys"]
        key = {**document["keys"][keyid], "scheme": "ed25519ph"}
        twin = key_id(key["keytype"], key["scheme"], key["keyval"]["public"])
        document["keys"][twin] = key
        document["roles"]["root"] = {"threshold": 2, "keys": [keyid, twin]}

    edit(site.ring.folder / "keys.json", change)
    with pytest.raises(KeyRefusedError, match="one key twice"):
        Keyring.open(site.ring.folder, {})


def forged_targets(site, thief):
    """Targets, signed by the right key, with a thief's key under production's identifier."""
    metadata = Metadata.from_bytes((site.metadata / "targets.json").read_bytes())
    (keyid,) = metadata.signed.delegations.roles["production"].keyids
    metadata.signed.delegations.keys[keyid].keyval["public"] = thief.public
    metadata.signed.version += 1
    return metadata, keyid


def test_a_signer_is_not_shown_one_key_and_signs_another(site, tmp_path):
    """The attack: in the ceremony's file, the thief's key stands under the id that is shown."""
    file, ring = tmp_path / "c.json", site.ring
    (mine,) = ring.keyset.keys_of("targets").keys
    here = Keyring(ring.folder, ring.keyset, {})
    here._signers[mine] = None
    office = TrustContext(site.place, LABEL, here, channels.now())
    key = NewKey("production").make(ring)
    operations.prepare_rotation(office, KeyChange("production", key), file)
    thief = NewKey("production").make(Keyring.open_or_begin(tmp_path / "thief", {}))

    def change(document):
        keys = document["metadata"]["targets"]["signed"]["delegations"]["keys"]
        keys[key.keyid]["keyval"]["public"] = thief.public

    genuine = file.read_bytes()
    edit(file, change)
    with pytest.raises(MetadataInvalidError, match="identifier"):
        sign(site, file)
    assert run(["promote", LABEL, "--sign", str(file), "--keys", str(ring.folder)]) == 11
    file.write_bytes(genuine)
    _, used = sign(site, file)
    assert used == [f"targets with {mine}"]


def test_a_forged_production_release_ends_on_the_target_with_11(site, tmp_path):
    """A signer was led to sign such targets; the thief signs a release of his own with his key."""
    thieves = Keyring.open_or_begin(tmp_path / "thief", {})
    thief = NewKey("production").make(thieves)
    targets, keyid = forged_targets(site, thief)
    (mine,) = site.ring.keyset.keys_of("targets").keys
    targets.sign(site.ring.signer(mine))
    production = Metadata.from_bytes((site.metadata / "production.json").read_bytes())
    production.signed.version += 1
    production.signatures.clear()
    signature = production.sign(thieves.signer(thief.keyid))
    signature.keyid = keyid
    production.signatures.clear()
    production.signatures[keyid] = signature
    raw = {
        "targets": targets.to_bytes(JSONSerializer()),
        "production": production.to_bytes(JSONSerializer()),
    }
    # He has the build machine as well, and signs snapshot and timestamp over it.
    snapshot = Metadata.from_bytes((site.metadata / "snapshot.json").read_bytes())
    for role, data in raw.items():
        meta = snapshot.signed.meta[f"{role}.json"]
        meta.version += 1
        meta.length = len(data)
        meta.hashes = {"sha256": hashlib.sha256(data).hexdigest()}
    snapshot.signed.version += 1
    snapshot.sign(site.ring.signer(site.ring.keyset.keys_of("snapshot").keys[0]))
    raw["snapshot"] = snapshot.to_bytes(JSONSerializer())
    timestamp = Metadata.from_bytes((site.metadata / "timestamp.json").read_bytes())
    meta = timestamp.signed.snapshot_meta
    meta.version, meta.length = snapshot.signed.version, len(raw["snapshot"])
    meta.hashes = {"sha256": hashlib.sha256(raw["snapshot"]).hexdigest()}
    timestamp.signed.version += 1
    timestamp.sign(site.ring.signer(site.ring.keyset.keys_of("timestamp").keys[0]))
    raw["timestamp"] = timestamp.to_bytes(JSONSerializer())
    assert site.take() == 2
    for role, data in raw.items():
        (site.metadata / f"{role}.json").write_bytes(data)
    text = site.config.read_text().replace('type = "ci"', 'type = "production"')
    site.config.write_text(text)
    words = ["target", "install", "--src-dir", str(site.channel), "--config", str(site.config)]
    assert run(words) == 11


def test_the_signer_is_shown_everything_out_of_what_is_signed(site, file):
    shown, used = sign(site, file)
    manifest = (site.channel / "repack/manifest.json").read_bytes()
    text = "\n".join(shown)
    assert f"label {LABEL}" in text
    assert "release 2 for noarch, linux-64, win-64, tags wave-1, new here" in text
    assert f"manifest sha256 {hashlib.sha256(manifest).hexdigest()}" in text
    assert "6 files; since release 1:" in text
    changes = {f"{sign} {subdir}/a-{n}-0.conda" for sign, n in ("-1", "+2") for subdir in SUBDIRS}
    assert {line.strip() for line in shown if line.startswith("      ")} == changes
    assert used == [f"production with {site.ring.keyset.keys_of('production').keys[0]}"]
    operations.finish(site.office(), file)


def test_keys_are_shown_whole_and_compared_with_the_signers_ring(site, tmp_path):
    file = tmp_path / "c.json"
    new = NewKey("production").make(site.ring)
    operations.prepare_rotation(site.office(), KeyChange("production", new), file)
    statements = ceremony.parse(file.read_bytes(), file)
    signer = Keyring.open(site.ring.folder, {})
    for role in statements.opened:
        statements.opened[role].signatures.clear()
    file.write_bytes(statements.to_bytes())
    shown, _ = operations.sign(signer, file)
    text = "\n".join(shown)
    assert f"key {new.keyid}" in text
    assert f"fingerprint {new.fingerprint}" in text
    assert f"targets names a key for production that is NOT IN YOUR RING: {new.keyid}" in text
    (own,) = signer.keyset.keys_of("production").keys
    assert f"targets does NOT name a key for production that is in your ring: {own}" in text


@pytest.mark.parametrize("kind", ["swapped", "missing"])
def test_a_release_that_is_not_shown_is_not_signed(site, file, kind):
    before = json.loads(file.read_bytes())["metadata"]["production"]["signatures"]

    def change(document):
        if kind == "missing":
            del document["manifests"]["2"]
        else:
            document["manifests"]["2"] = document["manifests"]["2"].replace("a-2-0", "a-9-0")

    edit(file, change)
    with pytest.raises((KeyRefusedError, IntegrityError), match=r"does not show|not the one"):
        sign(site, file)
    assert json.loads(file.read_bytes())["metadata"]["production"]["signatures"] == before


def test_what_was_published_before_counts_by_the_signers_own_keys_only(site, file):
    """The file claims that the forged release was signed long ago, so that it isn't looked at."""

    def change(document):
        claimed = json.loads(json.dumps(document["metadata"]["production"]))
        claimed["signed"]["version"] -= 1
        document["before"]["production"] = claimed

    edit(file, change)
    shown, _ = sign(site, file)
    text = "\n".join(shown)
    assert "NOT signed by a key of your ring" in text
    assert "release 2 for noarch, linux-64, win-64, tags wave-1, new here" in text
    assert "+ linux-64/a-2-0.conda" in text


def test_another_labels_metadata_is_not_signed_as_this_ones(site, file):
    edit(file, lambda document: document.update(label="other"))
    with pytest.raises(MixAndMatchError, match="another label's"):
        sign(site, file)


def test_escapes_are_visible(site, tmp_path, capsys):
    file = tmp_path / "c.json"
    tags = ["wave-1\x1b[2J", "\u202etxt.exe", "w\u0430ve", "a\nrelease 9"]
    operations.prepare_promotion(site.office(), 2, tags, file)

    def change(document):
        document["metadata"]["production"]["signatures"] = []

    edit(file, change)
    assert run(["promote", LABEL, "--sign", str(file), "--keys", str(site.ring.folder)]) == 0
    said = capsys.readouterr().out
    assert said.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said)
    for escape in (r"wave-1\x1b[2J", r"\u202etxt.exe", r"w\u0430ve", r"a\nrelease 9"):
        assert escape in said


def resigned(site, file, change):
    """What a signer was led to sign, by a program that shows nothing."""
    document = json.loads(file.read_bytes())
    change(document)
    document["metadata"]["production"]["signatures"] = []
    metadata = Metadata.from_bytes(json.dumps(document["metadata"]["production"]).encode())
    (keyid,) = site.ring.keyset.keys_of("production").keys
    metadata.sign(site.ring.signer(keyid))
    document["metadata"]["production"] = metadata.to_dict()
    file.write_text(json.dumps(document))


def other_content(document):
    target = document["metadata"]["production"]["signed"]["targets"]["releases/2/manifest.json"]
    target["hashes"] = {"sha256": "ab" * 32, "sha384": "ab" * 48}


def never_built(document):
    targets = document["metadata"]["production"]["signed"]["targets"]
    target = json.loads(json.dumps(targets["releases/2/manifest.json"]))
    target["custom"]["release"] = 9
    targets["releases/9/manifest.json"] = target


def gone(document):
    del document["metadata"]["production"]["signed"]["targets"]["releases/1/manifest.json"]


def fewer_tags(document):
    targets = document["metadata"]["production"]["signed"]["targets"]
    targets["releases/1/manifest.json"]["custom"]["tags"] = ["other"]


def other_platforms(document):
    targets = document["metadata"]["production"]["signed"]["targets"]
    targets["releases/2/manifest.json"]["custom"]["platforms"] = ["osx-arm64"]


@pytest.mark.parametrize("change", [other_content, never_built, gone, fewer_tags, other_platforms])
def test_what_comes_back_is_compared_with_what_stands_published(site, file, change):
    published = {path.name: path.read_bytes() for path in site.metadata.iterdir()}
    resigned(site, file, change)
    with pytest.raises(MixAndMatchError):
        operations.finish(site.office(), file)
    assert {path.name: path.read_bytes() for path in site.metadata.iterdir()} == published


def test_the_untouched_file_is_published(site, file):
    resigned(site, file, lambda _document: None)
    metadata = operations.finish(site.office(), file)
    assert [release.number for release in metadata.releases("production")] == [1, 2]
