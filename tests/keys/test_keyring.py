"""Key folders: made, encrypted, read, and what is said when they cannot be."""

from __future__ import annotations

import json
import stat
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from repack.errors import IntegrityError, KeyRefusedError
from repack.keys.keyring import Keyring
from repack.keys.keyset import ROLES, KeySet, parse_keyset
from repack.keys.private_key import adopt, to_public_pem

PHRASE = {"REPACK_KEY_PASSPHRASE": "correct horse"}


def pem_of(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_of(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_development_set(tmp_path):
    ring = Keyring.open_or_create(tmp_path / "k", {})
    assert ring.keyset.development
    assert set(ring.keyset.roles) == set(ROLES)
    again = Keyring.open_or_create(tmp_path / "k", {})
    assert again.keyset == ring.keyset
    for role in ROLES:
        (keyid,) = again.keyset.keys_of(role).keys
        signer = again.signer(keyid)
        assert signer is not None
        signer.public_key.verify_signature(signer.sign(b"x"), b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_private_files_are_private(tmp_path):
    Keyring.open_or_create(tmp_path / "k", {})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "k").iterdir()}
    assert modes.pop("keys.json") == 0o644
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o700


def test_passphrase_encrypts(tmp_path):
    ring = Keyring.open_or_create(tmp_path / "k", PHRASE)
    pems = list((tmp_path / "k").glob("*.pem"))
    assert len(pems) == 6
    assert all(b"ENCRYPTED PRIVATE KEY" in pem.read_bytes() for pem in pems)
    (keyid,) = ring.keyset.keys_of("root").keys
    assert Keyring.open(tmp_path / "k", PHRASE).signer(keyid) is not None
    with pytest.raises(KeyRefusedError, match="encrypted"):
        Keyring.open(tmp_path / "k", {}).signer(keyid)
    with pytest.raises(KeyRefusedError) as caught:
        Keyring.open(tmp_path / "k", {"REPACK_KEY_PASSPHRASE": "wrong horse"}).signer(keyid)
    assert "wrong horse" not in caught.value.text()


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p384"])
def test_algorithms(tmp_path, algorithm):
    ring = Keyring.open_or_begin(tmp_path / "k", PHRASE)
    ring.keyset = ring.keyset.with_key(ring.generate("ci", algorithm))
    ring.save()
    (keyid,) = ring.keyset.keys_of("ci").keys
    again = Keyring.open(tmp_path / "k", PHRASE)
    signer = again.signer(keyid)
    assert signer is not None
    signer.public_key.verify_signature(signer.sign(b"x"), b"x")
    pem = to_public_pem(again.keyset.keys[keyid]).encode()
    assert adopt("ci", pem, None).keyid == keyid
    assert not again.keyset.development


def test_key_in_a_variable(tmp_path):
    private = ed25519.Ed25519PrivateKey.generate()
    ring = Keyring.open_or_begin(tmp_path, {"K": pem_of(private).decode()})
    key = adopt("ci", public_of(private), "env:K")
    ring.keyset = ring.keyset.with_key(key)
    assert ring.signer(key.keyid) is not None
    assert Keyring(tmp_path, ring.keyset, {}).signer(key.keyid) is None


def test_a_private_half_that_is_elsewhere_is_no_fault(tmp_path):
    private = ed25519.Ed25519PrivateKey.generate()
    ring = Keyring.open_or_begin(tmp_path, {})
    for uri in (None, "file:gone.pem", "env:UNSET"):
        key = adopt("root", public_of(private), uri)
        ring.keyset = ring.keyset.with_key(key)
        assert Keyring(tmp_path, ring.keyset, {}).signer(key.keyid) is None


PAIRS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("uri", ["file:x.pem", "env:K"])
def test_private_half_of_another_key(tmp_path, kind, uri):
    private, stranger = PAIRS[kind](), PAIRS[kind]()
    (tmp_path / "x.pem").write_bytes(pem_of(stranger))
    key = adopt("root", public_of(private), uri)
    ring = Keyring(tmp_path, KeySet().with_key(key), {"K": pem_of(stranger).decode()})
    with pytest.raises(KeyRefusedError, match="does not belong"):
        ring.signer(key.keyid)
    (tmp_path / "x.pem").write_bytes(pem_of(private))
    ring = Keyring(tmp_path, KeySet().with_key(key), {"K": pem_of(private).decode()})
    assert ring.signer(key.keyid) is not None


def test_private_half_of_another_kind_of_key(tmp_path):
    (tmp_path / "x.pem").write_bytes(pem_of(ec.generate_private_key(ec.SECP384R1())))
    key = adopt("root", public_of(ed25519.Ed25519PrivateKey.generate()), "file:x.pem")
    with pytest.raises(KeyRefusedError):
        Keyring(tmp_path, KeySet().with_key(key), {}).signer(key.keyid)


def test_signers_of_other_libraries_speak_in_our_errors(tmp_path):
    private = ed25519.Ed25519PrivateKey.generate()
    for uri in ("hsm:2?label=key", "nosuch:thing", "awskms:alias/x"):
        key = adopt("root", public_of(private), uri)
        keyset = KeySet().with_key(key)
        with pytest.raises(KeyRefusedError, match=uri.partition(":")[0]):
            Keyring(tmp_path, keyset, {}).signer(key.keyid)


@pytest.mark.parametrize(
    "pem", [b"", b"x", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_bad_public_keys(pem):
    with pytest.raises(KeyRefusedError):
        adopt("root", pem, None)


def test_rsa_keys_of_others_are_taken():
    private = rsa.generate_private_key(65537, 2048)
    assert adopt("root", public_of(private), None).keytype == "rsa"


def test_bad_private_key(tmp_path):
    ring = Keyring.open_or_create(tmp_path / "k", {})
    (keyid,) = ring.keyset.keys_of("root").keys
    (tmp_path / "k" / str(ring.keyset.keys[keyid].uri).removeprefix("file:")).write_bytes(b"junk")
    with pytest.raises(KeyRefusedError, match="cannot be read"):
        Keyring.open(tmp_path / "k", {}).signer(keyid)


def test_no_key_set(tmp_path):
    with pytest.raises(KeyRefusedError, match="no key set"):
        Keyring.open(tmp_path, {})


def document(tmp_path):
    ring = Keyring.open_or_create(tmp_path / "k", {})
    return json.loads(ring.keyset.to_bytes())


def drop(path):
    def change(found):
        *way, last = path
        for step in way:
            found = found[step]
        del found[last]

    return change


@pytest.mark.parametrize(
    "change",
    [
        drop(["format"]),
        drop(["roles"]),
        drop(["keys"]),
        lambda d: d.update(format="x"),
        lambda d: d["roles"].update(boss={"threshold": 1, "keys": []}),
        lambda d: d["roles"]["root"].update(threshold=0),
        lambda d: d["roles"]["root"].update(threshold=True),
        lambda d: d["roles"]["root"].update(keys="x"),
        lambda d: d["roles"]["root"].update(keys=["x"]),
        lambda d: d["roles"]["root"].update(keys=d["roles"]["root"]["keys"] * 2),
        lambda d: next(iter(d["keys"].values())).update(keyval="x"),
        lambda d: next(iter(d["keys"].values())).update(uri=7),
        lambda d: next(iter(d["keys"].values())).update(scheme=7),
        lambda d: next(iter(d["keys"].values())).update(role="boss"),
        lambda d: d.update(keys=[]),
    ],
    ids=range(15),
)
def test_malformed_key_sets(tmp_path, change):
    found = document(tmp_path)
    change(found)
    with pytest.raises(IntegrityError):
        parse_keyset(json.dumps(found).encode(), "keys.json")


def test_thresholds(tmp_path):
    ring = Keyring.open_or_begin(tmp_path, {})
    keys = ring.keyset
    with pytest.raises(KeyRefusedError):
        keys.keys_of("root")
    one, two = ring.generate("root", "ed25519"), ring.generate("root", "ed25519")
    keys = keys.with_key(one).with_key(two).with_key(one)
    assert keys.keys_of("root").keys == (one.keyid, two.keyid)
    assert keys.with_threshold("root", 2).keys_of("root").threshold == 2
    for bad in (0, 3):
        with pytest.raises(KeyRefusedError):
            keys.with_threshold("root", bad)
    three = ring.generate("root", "ed25519")
    swapped = keys.with_threshold("root", 2).with_replaced_key(three, one.keyid)
    assert swapped.keys_of("root").keys == (two.keyid, three.keyid)
    assert swapped.keys_of("root").threshold == 2
    assert keys.with_replaced_key(three, None).keys_of("root").keys == (three.keyid,)
    with pytest.raises(KeyRefusedError):
        keys.with_replaced_key(three, "nobody")
    assert one.keyid in swapped.keys, "retired keys are kept: a rotation is signed by them too"
