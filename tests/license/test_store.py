from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import sys

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from repack.errors import (
    BusyError,
    FingerprintError,
    IntegrityError,
    LicenseError,
    PlaceError,
    RepackError,
    SpaceError,
    UsageError,
)
from repack.license import encryption
from repack.license.fingerprint import Factors, Fingerprint, GivenFingerprint
from repack.license.store import KEEP, LicenseStore
from tests import forking
from tests.licensing import FACTORS, NEW, NOW, OLD, fields, killed_at, license_of


@pytest.fixture(autouse=True)
def _cheap_guesses(monkeypatch):
    monkeypatch.setattr(encryption, "_N", 1 << 4)


@pytest.fixture
def vault(tmp_path):
    return LicenseStore(tmp_path / "secrets" / "license_store.json")


def fill(vault, device=OLD, licence=None):
    with vault.lock():
        opened = vault.open(device) if vault.exists() else vault.new(device)
        ledger = opened.ledger.install(licence or license_of()).seen(NOW)
        return vault.save(replace(opened, ledger=ledger))


def version_2(fingerprint, held):
    """As the older tool wrote it."""
    digest = hashlib.sha256(fingerprint.encode())
    nonce = os.urandom(12)
    text = AESGCM(digest.digest()).encrypt(
        nonce, json.dumps(held).encode(), digest.hexdigest().encode()
    )
    return json.dumps(
        {
            "version": 2,
            "fingerprint_hash": digest.hexdigest(),
            "nonce": base64.b64encode(nonce).decode(),
            "ciphertext": base64.b64encode(text).decode(),
            "updated_at": "2025-01-01T00:00:00Z",
        }
    )


def test_what_was_saved_is_there(vault):
    saved = fill(vault)
    opened = vault.open(OLD)
    assert opened.ledger == saved.ledger
    assert (opened.generation, opened.newer) == (1, None)
    assert vault.path.stat().st_mode & 0o777 == 0o600


def test_another_device_cannot_open_it(vault):
    fill(vault)
    with pytest.raises(LicenseError, match="does not open on this device"):
        vault.open(NEW)


def test_no_store_says_how_to_make_one(vault):
    with pytest.raises(PlaceError, match="repack license install"):
        vault.open(OLD)


def test_generations_before_are_kept_and_open(vault):
    for number in range(KEEP + 3):
        fill(vault, licence=license_of(license_id=f"L{number}"))
    kept = sorted(int(p.name.rsplit(".", 1)[1]) for p in vault.path.parent.glob("*.json.[0-9]*"))
    assert kept == list(range(4, KEEP + 4))
    before = LicenseStore(vault.path.with_name(f"{vault.path.name}.4")).open(OLD)
    assert sorted(before.ledger.licenses) == ["L0", "L1", "L2", "L3"]


def test_a_generation_that_was_put_back_is_seen(vault):
    fill(vault)
    fill(vault, licence=license_of(license_id="L2"))
    fill(vault, licence=license_of(license_id="L3"))
    shutil.copy(f"{vault.path}.1", vault.path)
    assert vault.open(OLD).newer == 3
    assert fill(vault).generation == 4
    assert vault.open(OLD).newer is None


def test_the_same_content_never_lies_there_twice_the_same(vault):
    fill(vault)
    first = json.loads(vault.path.read_bytes())
    fill(vault)
    second = json.loads(vault.path.read_bytes())
    assert first["kdf"]["salt"] != second["kdf"]["salt"]
    assert first["nonce"] != second["nonce"]


def test_the_file_holds_neither_fingerprint_nor_a_quick_hash_of_it(vault):
    """The mistake to avoid: a hash beside the store that is the key, or gets it cheaply."""
    fill(vault)
    text = vault.path.read_text()
    document = json.loads(text)
    secret = OLD.text.encode()
    assert OLD.text not in text
    blobs = [base64.b64decode(document[name]) for name in ("nonce", "check", "ciphertext")]
    salt = base64.b64decode(document["kdf"]["salt"])
    header = {name: value for name, value in document.items() if name != "ciphertext"}
    from repack.codec.canonical import canonical

    for name in ("md5", "sha1", "sha256", "sha384", "sha512", "blake2b"):
        for form in (secret, salt + secret, secret + salt):
            digest = hashlib.new(name, form).digest()
            assert digest.hex() not in text
            assert all(digest[:16] not in blob for blob in blobs)
            for key in (digest[:32], digest[-32:]):
                if len(key) == 32:
                    with pytest.raises(InvalidTag):
                        AESGCM(key).decrypt(blobs[0], blobs[2], canonical(header))


def test_a_guess_costs_a_scrypt_of_32_mib(monkeypatch):
    monkeypatch.undo()
    assert (encryption._N, encryption._R, encryption._P) == (1 << 15, 8, 1)


def test_any_edited_header_field_is_found(vault):
    fill(vault, device=Factors.of(FACTORS, {}))
    document = json.loads(vault.path.read_bytes())
    device = Factors.of(FACTORS, {})
    for name in document:
        forged = {**document, name: "x"}
        if name == "generation":
            forged[name] = 7
        if name == "factors":
            forged[name] = ["machine_id"]
        if name == "kdf":
            forged[name] = {**document["kdf"], "n": 1 << 5}
        vault.path.write_text(json.dumps(forged))
        with pytest.raises(LicenseError):
            vault.open(device)
    vault.path.write_text(json.dumps({**document, "comment": "x"}))
    with pytest.raises(LicenseError):
        vault.open(device)


def test_a_header_cannot_make_opening_expensive(vault):
    fill(vault)
    document = json.loads(vault.path.read_bytes())
    for change in ({"n": 1 << 40}, {"n": 3}, {"r": 1 << 20}, {"p": 1 << 20}, {"n": True}):
        forged = {**document, "kdf": {**document["kdf"], **change}}
        vault.path.write_text(json.dumps(forged))
        with pytest.raises(LicenseError, match="malformed"):
            vault.open(OLD)


@settings(
    max_examples=150, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.data())
def test_a_flipped_or_missing_byte_is_found(vault, data):
    if not vault.exists():
        fill(vault)
        vault.path.with_suffix(".good").write_bytes(vault.path.read_bytes())
    good = vault.path.with_suffix(".good").read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    if data.draw(st.booleans()):
        bad = good[:at]
    else:
        bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    vault.path.write_bytes(bad)
    if bad.split() == good.split():
        return
    with pytest.raises(RepackError) as error:
        vault.open(OLD)
    assert isinstance(error.value, IntegrityError)


def test_a_store_bound_to_factors_says_which_it_needs(vault):
    fill(vault, device=Factors.of(FACTORS, {}))
    assert vault.open(Factors.of({**FACTORS, "dongle": "new"}, {})).factors == tuple(
        sorted(FACTORS)
    )
    poor = Factors.of(
        {"machine_id": FACTORS["machine_id"]}, {"board_serial": "only root may read it"}
    )
    with pytest.raises(FingerprintError, match="board_serial: only root may read it"):
        vault.open(poor)


def test_a_store_made_without_root_opens_as_root(vault):
    fill(vault, device=Factors.of({"machine_id": FACTORS["machine_id"]}, {}))
    assert vault.open(Factors.of(FACTORS, {})).factors == ("machine_id",)


def test_version_2_is_read(vault):
    vault.path.parent.mkdir()
    held = {"licenses": {"A": {"status": "provisioned", "license": fields(license_id="A")},
                         "B": {"status": "revoked", "fingerprint": "X"}, "C": 4}, "note": "kept"}  # fmt: skip
    vault.path.write_text(version_2(OLD.text, held))
    opened = vault.open(OLD)
    assert opened.migrated
    assert sorted(opened.ledger.licenses) == ["A", "B"]
    assert opened.ledger.licenses["A"] == fields(license_id="A")
    assert list(opened.ledger.revoked) == ["B"]
    assert opened.ledger.other == {"note": "kept"}
    with pytest.raises(LicenseError, match="another device"):
        vault.open(NEW)


def test_only_the_kept_copy_of_version_2_gives_the_key(vault):
    vault.path.parent.mkdir()
    vault.path.write_text(version_2(OLD.text, {"licenses": [fields()]}))
    with vault.lock():
        vault.save(vault.open(OLD))
    digest = hashlib.sha256(OLD.text.encode()).hexdigest()
    weak = [path.name for path in vault.path.parent.iterdir() if digest in path.read_text()]
    assert weak == [f"{vault.path.name}.version-2"]
    assert sorted(vault.open(OLD).ledger.licenses) == ["LIC-1"]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"version": 9}', '{"version": []}', '{"version": 3}', '{"version": 2}',
     '{"version": 2, "fingerprint_hash": "x", "nonce": 1, "ciphertext": ""}'],
)  # fmt: skip
def test_what_is_no_store_is_refused_and_never_written_over(vault, text):
    vault.path.parent.mkdir()
    vault.path.write_text(text)
    with pytest.raises(IntegrityError):
        vault.open(OLD)
    if '"version": 2' not in text:
        with pytest.raises(IntegrityError):
            vault.save(vault.new(OLD))
        assert vault.path.read_text() == text


def test_a_version_2_store_with_an_edited_nonce_is_refused(vault):
    vault.path.parent.mkdir()
    document = json.loads(version_2(OLD.text, {"licenses": {}}))
    vault.path.write_text(json.dumps({**document, "nonce": base64.b64encode(bytes(12)).decode()}))
    with pytest.raises(LicenseError, match="changed or is damaged"):
        vault.open(OLD)
    vault.path.write_text(version_2(OLD.text, {"licenses": 4}))
    with pytest.raises(LicenseError, match="holds no licences"):
        vault.open(OLD)


def test_two_writers_exclude_each_other(vault):
    with vault.lock(), pytest.raises(BusyError), vault.lock():
        pytest.fail("two of them")


@pytest.mark.parametrize("which", ["file", "folder", "lock", "generation"])
def test_nothing_is_written_through_a_symlink(vault, tmp_path, which):
    fill(vault)
    elsewhere = tmp_path / "elsewhere"
    if which == "folder":
        vault.path.parent.rename(elsewhere)
        vault.path.parent.symlink_to(elsewhere)
    else:
        name = {"file": "", "lock": ".lock", "generation": ".1"}[which]
        target = vault.path.with_name(f"{'.' if which == 'lock' else ''}{vault.path.name}{name}")
        if target.exists():
            target.rename(elsewhere)
        target.symlink_to(elsewhere)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="symlink"):
        fill(vault)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_full_disk_leaves_the_old_store(vault):
    fill(vault)
    before = vault.path.read_bytes()

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
        with pytest.raises(SpaceError):
            fill(vault, licence=license_of(license_id="L2"))

    assert forking.run(work) == 0
    assert vault.path.read_bytes() == before
    assert sorted(vault.open(OLD).ledger.licenses) == ["LIC-1"]


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_kill_at_any_instant_leaves_the_old_store_or_the_new(vault):
    fill(vault)
    seen, instant, alive = set(), 0, True
    while alive:
        instant += 1
        alive = killed_at(instant, lambda: fill(vault, licence=license_of(license_id="L2")))
        held = tuple(sorted(vault.open(OLD).ledger.licenses))
        seen.add(held)
        assert held in {("LIC-1",), ("L2", "LIC-1")}
    assert seen == {("LIC-1",), ("L2", "LIC-1")}
    assert instant > 8


def test_a_proof_that_fails_puts_the_old_store_back(vault, monkeypatch):
    fill(vault)
    before = vault.path.read_bytes()

    def refuse(*_given):
        raise LicenseError("the disk lies")

    monkeypatch.setattr(LicenseStore, "_check", refuse)
    with pytest.raises(LicenseError):
        fill(vault, licence=license_of(license_id="L2"))
    assert vault.path.read_bytes() == before


def test_a_fingerprint_is_the_same_however_it_is_typed(vault):
    device = Factors.of(FACTORS, {})
    fill(vault, device=device)
    typed = GivenFingerprint(Fingerprint(device.fingerprint().lower().replace("-", "")))
    assert vault.open(typed).fingerprint == device.fingerprint()


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError) as error, LicenseStore(tmp_path / "file" / "store.json").lock():
        pytest.fail("a file is no folder")
    assert error.value.__cause__.errno in {errno.ENOTDIR, errno.EEXIST}
