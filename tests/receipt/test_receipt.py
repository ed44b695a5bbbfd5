"""Receipts of sites, and the vendor's list of them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from repack.cli.main import run
from repack.conda.virtual_packages import TargetProfile
from repack.errors import IntegrityError, SignatureError
from repack.receipt.device_key import new_private_key, public_half
from repack.receipt.receipt import MAX_BYTES, Receipt, read_receipt, sign_receipt
from repack.receipt.sites import missing_at
from tests.agent import bank as banks
from tests.licensing import write_factors


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    root = tmp_path_factory.mktemp("vendor")
    with contextlib.chdir(root):
        made = banks.world(root)
        banks.build(made, root / "media", releases=2)
    return made


@pytest.fixture
def bank(vendor, tmp_path):
    shutil.copytree(vendor.root / "media", tmp_path / "media", symlinks=True)
    made = banks.Bank(tmp_path)
    assert made.install(1)[0] == 0
    return made


def receipt_of(bank, name="receipt.json", *, serial="a"):
    path = bank.root / f"stick ü {name}"
    factors = write_factors(bank.root / f"factors-{serial}.json", board_serial=f"SERIAL-{serial}")
    code, said = bank.agent("receipt", "-o", str(path), "--factors", str(factors))
    assert code == 0, said
    return path, said


def sites(folder, *words, code=0):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        got = run(["sites", *map(str, words), "--sites-dir", str(folder / "sites"), "--json"])
    assert got == code, err.getvalue() + out.getvalue()
    return json.loads(out.getvalue())


@pytest.fixture
def known(bank):
    path, said = receipt_of(bank)
    sites(bank.root, "import", path, "--as", "ankara", "--accept", said["key_id"])
    return path


def test_a_receipt_says_what_runs(bank):
    path, said = receipt_of(bank)
    assert path.stat().st_size <= MAX_BYTES
    document = json.loads(path.read_bytes())
    assert (document["label"], document["release"], document["health"]) == ("bank", 1, "good")
    assert document["changed_count"] == 0
    assert document["virtual_packages"]["__unix"] == "0"
    assert document["metadata"]["root"] == 1
    manifest = bank.folder / "current/share/repack/bank/manifest.json"
    import hashlib

    assert document["manifest"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert sites(bank.root, "list") == []
    site = sites(bank.root, "import", path, "--as", "ankara", "--accept", said["key_id"])
    assert (site["site"], site["release"]) == ("ankara", 1)
    assert [row["site"] for row in sites(bank.root, "list")] == ["ankara"]
    assert sites(bank.root, "show", "ankara")["fingerprint"] == document["fingerprint"]


def test_the_key_stays_on_the_device(bank):
    path, _ = receipt_of(bank)
    key = bank.folder / "state/receipt/device.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in path.read_bytes()


def test_files_changed_by_hand_and_failed_releases_are_in_it(bank):
    (bank.folder / "current/share/tiny/ä b.txt").unlink()
    (bank.folder / "current/share/tiny/ä b.txt").write_text("edited")
    bank.configure(health={"command": ["false"]})
    assert bank.install(2)[0] in (110, 130)
    path, _ = receipt_of(bank)
    document = json.loads(path.read_bytes())
    assert document["rolled_back"] == [2]
    assert document["changed_count"] == 1
    assert "ä b.txt" in document["changed"][0]


def test_the_next_one_is_taken_without_a_word(bank, known):
    assert bank.install(2)[0] == 0
    path, _ = receipt_of(bank, "later")
    assert sites(bank.root, "import", path)["release"] == 2


def test_a_receipt_is_taken_once(bank, known):
    again = sites(bank.root, "import", known, code=6)
    assert "taken already" in again["what"]
    later, _ = receipt_of(bank, "later")
    sites(bank.root, "import", later)
    assert sites(bank.root, "import", known, code=6)["error"] == "integrity"
    assert sites(bank.root, "show", "ankara")["number"] == 2


def test_an_edited_receipt(bank, known):
    path, _ = receipt_of(bank, "later")
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "release": 2}))
    assert sites(bank.root, "import", path, code=6)["error"] == "signature"
    path.write_text(json.dumps({**document, "more": 2}))
    assert sites(bank.root, "import", path, code=6)["exit_code"] == 6
    assert sites(bank.root, "show", "ankara")["number"] == 1


def test_a_receipt_signed_by_another_key(bank, known):
    """Somebody who knows the fingerprint makes a key of his own."""
    document = json.loads(known.read_bytes())
    del document["signature"]
    private = new_private_key()
    forged = replace(
        read_receipt(known.read_bytes(), known), number=9, release=2,
        key=public_half(private, "forged"),
    )  # fmt: skip
    known.write_bytes(sign_receipt(forged, private))
    said = sites(bank.root, "import", known, code=6)
    assert "key that is not known" in said["what"]
    # The real key's name on the forged receipt does not help.
    mine = read_receipt((bank.root / "sites/ankara.json").read_bytes(), "kept")
    assert sites(bank.root, "import", known, "--accept", mine.key_id, code=6)["exit_code"] == 6
    # A device that was set up anew: its administrator reads the key out.
    assert sites(bank.root, "import", known, "--accept", forged.key_id)["number"] == 9


def test_a_receipt_of_another_device(bank, known):
    path, said = receipt_of(bank, "other", serial="b")
    words = ["import", path, "--as", "ankara", "--accept", said["key_id"]]
    assert "another device" in sites(bank.root, *words, code=6)["what"]
    assert "--as SITE" in sites(bank.root, "import", path, code=2)["hint"]


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff\xfe", b'{"format": 1}', b"{" * 70_000, b"null"]
)
def test_what_is_no_receipt(tmp_path, data):
    path = tmp_path / "receipt.json"
    path.write_bytes(data)
    said = sites(tmp_path, "import", path, "--as", "ankara", code=6)
    assert str(path) in said["where"]
    assert not (tmp_path / "sites").exists()


def test_names_of_sites_and_damaged_ones(bank, known):
    path, said = receipt_of(bank, "later", serial="b")
    for name in ("../x", "A", "con", ""):
        words = ["import", path, "--as", name, "--accept", said["key_id"]]
        assert sites(bank.root, *words, code=2)["exit_code"] == 2
    assert "ankara" in sites(bank.root, "show", "izmir", code=2)["got"]
    (bank.root / "sites/ankara.json").write_text("{}")
    assert sites(bank.root, "list", code=6)["where"].endswith("ankara.json")


def test_a_key_that_others_can_write_signs_nothing(bank):
    receipt_of(bank)
    (bank.folder / "state/receipt/device.pem").chmod(0o666)
    factors = write_factors(bank.root / "factors.json")
    words = ["receipt", "-o", str(bank.root / "r"), "--factors", str(factors)]
    assert bank.agent(*words)[0] == 2
    assert not (bank.root / "r").exists()


PRIVATE = new_private_key()
SAMPLE = Receipt(
    number=1, when="2026-11-29T00:00:00Z", label="bank", platform="linux-64", phase="idle",
    fingerprint="F" * 87, key=public_half(PRIVATE, "sample"), health="good",
)  # fmt: skip


@given(
    changed=st.lists(st.text(max_size=600), max_size=20),
    failed=st.lists(st.integers(1, 10**9), max_size=20),
)
def test_every_receipt_fits_and_comes_back(changed, failed):
    made = replace(
        SAMPLE, changed=tuple(changed), changed_count=len(changed), rolled_back=tuple(failed)
    )
    data = sign_receipt(made, PRIVATE)
    assert len(data) <= MAX_BYTES
    back = read_receipt(data, "receipt")
    assert back.changed_count == len(changed)
    assert back.changed == made.changed[: len(back.changed)]
    assert back.rolled_back == made.rolled_back[len(failed) - len(back.rolled_back) :]


@given(st.binary(max_size=400))
def test_no_bytes_end_otherwise(data):
    with pytest.raises((IntegrityError, SignatureError)):
        read_receipt(data, "receipt")


def test_what_a_site_lacks():
    profile = TargetProfile.of("linux-64", {"__glibc": "2.28", "__cuda": "12"})
    old = replace(SAMPLE, virtual_packages={"__glibc": "2.17", "__linux": "5.10", "__unix": "0"})
    lines = missing_at(old, profile)
    assert len(lines) == 2
    assert "__glibc 2.28, the site has 2.17" in " ".join(lines)
    assert "__cuda 12, the site has none" in " ".join(lines)
    new = {"__glibc": "2.36", "__linux": "6.1", "__unix": "0", "__cuda": "12.4"}
    assert missing_at(replace(SAMPLE, virtual_packages=new), profile) == ()


def test_a_medium_for_a_site(vendor, bank, known, capsys, monkeypatch):
    monkeypatch.chdir(vendor.root)
    folders = ["--labels-dir", str(vendor.labels), "--channels-dir", str(vendor.channels)]
    folders += ["--store", str(vendor.store), "--sites-dir", str(bank.root / "sites")]

    def medium(*words):
        code = run(["medium", "bank", str(bank.root / "stick"), *words, *folders, "--json"])
        return code, json.loads(capsys.readouterr().out)

    capsys.readouterr()
    code, said = medium("--for", "izmir")
    assert (code, "ankara" in said["got"]) == (2, True)
    before = (bank.root / "sites/ankara.json").read_bytes()
    private = (bank.folder / "state/receipt/device.pem").read_bytes()
    old = replace(read_receipt(before, "kept"), virtual_packages={"__glibc": "2.5"})
    (bank.root / "sites/ankara.json").write_bytes(sign_receipt(old, private))
    code, said = medium("--for", "ankara")
    assert (code, "2.17" in said["got"]) == (2, True)
    assert not (bank.root / "stick").exists()
    (bank.root / "sites/ankara.json").write_bytes(before)
    code, said = medium("--for", "ankara")
    assert (code, said["release"]) == (0, 2)


def test_labels_say_who_runs_what(vendor, bank, known, capsys, monkeypatch):
    monkeypatch.chdir(vendor.root)
    folders = ["--labels-dir", str(vendor.labels), "--channels-dir", str(vendor.channels)]
    folders += ["--sites-dir", str(bank.root / "sites")]
    capsys.readouterr()
    assert run(["labels", "--json", *folders]) == 0
    assert json.loads(capsys.readouterr().out)[0]["sites"] == {"ankara": 1}
    assert run(["labels", *folders]) == 0
    assert "sites: ankara 1" in capsys.readouterr().out


def test_labels_say_which_site_runs_what_was_recalled(vendor, bank, known, capsys, monkeypatch):
    monkeypatch.chdir(vendor.root)
    folders = ["--channels-dir", str(vendor.channels)]
    before = vendor.channel.with_name("before")
    shutil.copytree(vendor.channel, before)
    words = ["recall", "bank", "--release", "1", "--why", "CVE-2026-1234", *folders]
    try:
        assert run(words) == 0
        folders += ["--labels-dir", str(vendor.labels), "--sites-dir", str(bank.root / "sites")]
        capsys.readouterr()
        assert run(["labels", *folders]) == 0
        assert "sites: ankara 1 (recalled)" in capsys.readouterr().out
    finally:
        shutil.rmtree(vendor.channel)
        before.rename(vendor.channel)
