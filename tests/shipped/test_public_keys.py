"""What ``verify.py`` and ``repack verify`` say of signatures by public keys, on the same channels."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from repack.channel.folder import Channels
from repack.codec.sha256sums import compose_sums
from repack.keys.keyring import Keyring
from repack.keys.keyset import ROLES
from repack.names import LabelName
from repack.trust.operations import TrustContext
from repack.trust.recalls import RECALLED
from repack.trust.sign import Signing
from repack.verify.verdict import Requirements
from repack.verify.verify import verify
from tests import channels

METADATA = "repack/metadata"


def module():
    spec = importlib.util.spec_from_file_location("shipped_public_keys", channels.VERIFY)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


SHIPPED = module()

# RFC 8032, 7.1: public key, message, signature
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b4"
            "6bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8"
            "c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc65"
            "94a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


@pytest.mark.parametrize(("public", "message", "signature"), RFC_8032, ids=range(3))
def test_the_vectors_of_rfc_8032(public, message, signature):
    made, message = bytes.fromhex(signature), bytes.fromhex(message)
    assert SHIPPED.fits_ed25519(public, made, message)
    assert not SHIPPED.fits_ed25519(public, made, message + b"x")
    # S + L signs as well by arithmetic; 5.1.7 refuses it, or a signature would have many forms
    more = int.from_bytes(made[32:], "little") + SHIPPED.L
    assert not SHIPPED.fits_ed25519(public, made[:32] + more.to_bytes(32, "little"), message)


@pytest.mark.parametrize("bit", range(0, 512, 37))
def test_no_flipped_bit_of_a_signature_passes(bit):
    public, message, signature = RFC_8032[2]
    made = bytearray(bytes.fromhex(signature))
    made[bit // 8] ^= 1 << bit % 8
    key = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}}
    assert SHIPPED.fits(key, signature, bytes.fromhex(message))
    assert not SHIPPED.fits(key, made.hex(), bytes.fromhex(message))


@pytest.mark.parametrize("point", [b"\xff" * 32, b"\1" + bytes(30) + b"\x80", b"\2" + bytes(31)])
def test_what_is_no_point_is_no_key(point):
    with pytest.raises(ValueError, match="no point"):
        SHIPPED.point_ed(point)


@pytest.mark.parametrize(
    ("curve", "algorithm", "scheme"),
    [
        (ec.SECP256R1(), hashes.SHA256(), "ecdsa-sha2-nistp256"),
        (ec.SECP384R1(), hashes.SHA384(), "ecdsa-sha2-nistp384"),
    ],
)
def test_ecdsa_as_cryptography_signs_it(curve, algorithm, scheme):
    private, message = ec.generate_private_key(curve), os.urandom(50)
    signature = private.sign(message, ec.ECDSA(algorithm))
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key = {"keytype": "ecdsa", "scheme": scheme, "keyval": {"public": pem.decode()}}
    assert SHIPPED.fits(key, signature.hex(), message)
    assert not SHIPPED.fits(key, signature.hex(), message + b"x")
    assert not SHIPPED.fits(key, (signature + b"\0").hex(), message)
    assert not SHIPPED.fits(key, (signature[:5] + b"\1" + signature[6:]).hex(), message)


# --- one set of channels, judged by both


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Channels to take apart: the vendor's of two releases, and that of somebody else."""
    root = tmp_path_factory.mktemp("vendor")
    ring = channels.keyring(root / "keys")
    signing = Signing(None, ring)
    shutil.copytree(channels.build(root / "c", signing), root / "first")
    channels.build(root / "c", signing, number=2)
    thief = Signing(None, channels.keyring(root / "thief"))
    channels.build(root / "stolen", thief)
    channels.build(root / "stolen", thief, number=2)
    channels.build(root / "other", signing, label="other")
    return root


@pytest.fixture
def channel(places, tmp_path):
    return shutil.copytree(places / "c", tmp_path / "stick ü" / "halkbank")


def resum(channel):
    """Anybody can write the plain list anew; what is signed has to hold without it."""
    folder = channel / METADATA
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "SHA256SUMS"}
    (folder / "SHA256SUMS").write_bytes(compose_sums(files))


def edit(name, change):
    def do(channel, _places):
        path = channel / METADATA / name
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document, indent=1))

    return do


def set_signed(**fields):
    return lambda document: document["signed"].update(fields)


def flip_signature(document):
    row = document["signatures"][0]
    row["sig"] = ("0" if row["sig"][0] != "0" else "1") + row["sig"][1:]


def twice(document):
    document["signatures"] *= 2


def other_key(document):
    """The same identifier, with another key behind it."""
    for key in document["signed"]["keys"].values():
        key["keyval"]["public"] = RFC_8032[0][0]


def take(*names, source):
    def do(channel, places):
        for name in names:
            shutil.copy(places / source / METADATA / name, channel / METADATA / name)

    return do


def swap_all(source):
    def do(channel, places):
        shutil.rmtree(channel / METADATA)
        shutil.copytree(places / source / METADATA, channel / METADATA)

    return do


def remove(name):
    return lambda channel, _places: (channel / METADATA / name).unlink()


def replace_whole(channel, places):
    """A release that somebody else signed with his own keys."""
    shutil.rmtree(channel)
    shutil.copytree(places / "stolen", channel)


BELOW = ("timestamp.json", "snapshot.json", "targets.json", "ci.json", "production.json")
BAD = {
    **{f"signature of {name} flipped": edit(name, flip_signature) for name in (*BELOW, "1.root.json")},
    **{f"{name} lives longer": edit(name, set_signed(expires="2099-01-01T00:00:00Z")) for name in BELOW},
    **{f"{name} of release 1": take(name, source="first") for name in (*BELOW[:2], "ci.json")},
    **{f"{name} of somebody else": take(name, source="stolen") for name in (*BELOW, "1.root.json")},
    **{f"{name} missing": remove(name) for name in (*BELOW, "1.root.json")},
    "all metadata of release 1": swap_all("first"),
    "all metadata of somebody else": swap_all("stolen"),
    "all metadata of another label": swap_all("other"),
    "all of somebody else": replace_whole,
    "no metadata": lambda channel, _places: shutil.rmtree(channel / METADATA),
    "a signature twice": edit("ci.json", twice),
    "no signature": edit("ci.json", lambda document: document.update(signatures=[])),
    "signature by a stranger": edit(
        "ci.json", lambda document: document["signatures"][0].update(keyid="0" * 64)
    ),
    "a key of the root replaced": edit("1.root.json", other_key),
    "threshold 0": edit(
        "1.root.json", lambda document: document["signed"]["roles"]["timestamp"].update(threshold=0)
    ),
    "next major version": edit("ci.json", set_signed(spec_version="2.0.0")),
    "another type": edit("snapshot.json", set_signed(_type="timestamp")),
    "a fraction": edit("ci.json", set_signed(version=1.5)),
    "not JSON": lambda channel, _places: (channel / METADATA / "ci.json").write_bytes(b"{"),
    "a list": lambda channel, _places: (channel / METADATA / "ci.json").write_bytes(b"[]"),
    "empty": lambda channel, _places: (channel / METADATA / "ci.json").write_bytes(b"{}"),
    "nested deeply": lambda channel, _places: (channel / METADATA / "ci.json").write_bytes(
        b"[" * 5000 + b"]" * 5000
    ),
}  # fmt: skip


def judge(channel, root, *arguments):
    """Exit codes of both; without a shared key, so that public keys alone decide."""
    from repack.errors import RepackError

    now = channels.now()
    try:
        code = verify(channel, Requirements(root=root, need="signature"), now).exit_code
    except RepackError as error:
        code = error.exit_code
    pinned = channel.parent / "pinned root.json"
    pinned.write_bytes(root)
    done = shipped(channel, "--root", pinned, "--require-signature", *arguments)
    assert not done.stderr
    return code, done.returncode, done.stdout


def shipped(channel, *arguments):
    command = [sys.executable, "-I", "-B", channels.VERIFY, channel, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("with_sums", [True, False], ids=["list written anew", "list as it was"])
@pytest.mark.parametrize("name", BAD)
def test_both_refuse(channel, places, name, with_sums):
    root = (channel / METADATA / "1.root.json").read_bytes()
    BAD[name](channel, places)
    if with_sums and (channel / METADATA).is_dir():
        resum(channel)
    first, second, text = judge(channel, root)
    assert first != 0, "repack verify"
    assert second == 6, f"verify.py: {text}"


def test_both_take_what_the_vendor_signed(channel):
    root = (channel / METADATA / "1.root.json").read_bytes()
    first, second, text = judge(channel, root)
    assert (first, second) == (0, 0), text
    assert "public keys: good, for ci, with development keys" in text
    assert "not pinned" not in text


def test_both_take_ecdsa_keys(tmp_path):
    """Those of a hardware token, for instance."""
    ring = Keyring.open_or_begin(tmp_path / "keys", {})
    for role in ROLES:
        ring.keyset = ring.keyset.with_key(ring.generate(role, "ecdsa-p384"))
    channel = channels.build(tmp_path / "c", Signing(None, ring))
    root = (channel / METADATA / "1.root.json").read_bytes()
    assert b"ecdsa-sha2-nistp384" in root
    first, second, text = judge(channel, root)
    assert (first, second) == (0, 0), text
    edit("snapshot.json", set_signed(expires="2099-01-01T00:00:00Z"))(channel, None)
    resum(channel)
    first, second, text = judge(channel, root)
    assert first != 0
    assert second == 6, text


def test_both_follow_a_chain_of_roots(channel, places):
    """A link that is missing, or not signed by the one before, breaks it."""
    folder = channel / METADATA
    root = (folder / "1.root.json").read_bytes()
    shutil.copy(places / "stolen" / METADATA / "1.root.json", folder / "2.root.json")
    resum(channel)
    first, second, text = judge(channel, root)
    assert first != 0
    assert second == 6, text


def test_without_a_pinned_root_it_says_so(channel):
    done = shipped(channel, "--require-signature")
    assert done.returncode == 0
    assert "root not pinned" in done.stdout


@pytest.mark.parametrize(("days", "word"), [(-900, "expired"), (60, "signed in the future")])
def test_both_look_at_the_clock(tmp_path, days, word):
    signing = Signing(None, channels.keyring(tmp_path / "keys"))
    moment = channels.now() + timedelta(days=days)
    channel = channels.build(tmp_path / "c", signing, moment=min(moment, channels.now()))
    channels.build(channel, signing, number=2, moment=moment)
    root = (channel / METADATA / "1.root.json").read_bytes()
    first, second, text = judge(channel, root)
    assert first == 12 if days < 0 else first != 0
    assert second == 6
    assert word in text
    # A machine whose clock is wrong, and somebody who knows that it is
    assert shipped(channel, "--any-date").returncode == 0


def recall(tmp_path, rows):
    """A channel whose vendor has signed ``rows`` as its list of recalled releases."""
    ring, place = channels.keyring(tmp_path / "keys"), Channels(tmp_path / "channels")
    label = LabelName("halkbank")
    channels.build(place.published(label), Signing(None, ring), number=2)
    context = TrustContext(place, label, ring, channels.now())
    editor = context.editor()
    editor.open("targets").unrecognized_fields[RECALLED] = rows
    context.publish(editor.publish(ring.signer))
    return place.published(label)


def test_both_say_that_a_release_was_recalled(tmp_path):
    """It is genuine all the same: neither makes a damaged channel of it."""
    rows = [{"release": 1, "why": "another"}, {"release": 2, "why": "CVE-2026-1234, ü"}]
    channel = recall(tmp_path, rows)
    root = (channel / METADATA / "1.root.json").read_bytes()
    first, second, text = judge(channel, root)
    assert (first, second) == (0, 0), text
    assert "RECALLED by the vendor, do not install it: CVE-2026-1234, " in text
    assert "another" not in text
    warnings = verify(channel, Requirements(root=root), channels.now()).warnings
    assert "release 2 was recalled: CVE-2026-1234, ü" in warnings


@pytest.mark.parametrize(
    "rows",
    [
        {},
        7,
        [7],
        [{"release": 1}],
        [{"release": 0, "why": "x"}],
        [{"release": True, "why": "x"}],
        [{"release": 1, "why": ""}],
        [{"release": 1, "why": 5}],
        [{"release": 1, "why": ["x"]}],
        [{"release": 1, "why": "x" * 301}],
        [{"release": 1, "why": "a\nb"}],
        [{"release": 1, "why": "x"}, {"release": 1, "why": "y"}],
    ],
    ids=str,
)
def test_both_refuse_a_malformed_list_of_recalls(tmp_path, rows):
    channel = recall(tmp_path, rows)
    first, second, text = judge(channel, (channel / METADATA / "1.root.json").read_bytes())
    assert (first, second) == (11, 6), text
