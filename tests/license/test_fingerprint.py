from __future__ import annotations

import base64
import hashlib
import itertools
import json
import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repack.errors import FingerprintError, SignatureError
from repack.keys.shared_key import SharedKey
from repack.license.fingerprint import Factors, Fingerprint, FingerprintDocument
from repack.license.smbios import factors_of
from tests.licensing import CHANGING, FACTORS, KEY

STAMP = "2026-11-21T12:00:00Z"


def factors(**changes):
    return Factors.of({**FACTORS, **changes}, {})


@pytest.fixture(scope="module")
def device():
    return factors()


def test_it_is_printed_as_grouped_base32_of_48_bytes(device):
    groups = device.fingerprint().split("-")
    assert [len(group) for group in groups] == [7] * 11
    assert len(base64.b32decode("".join(groups) + "===")) == 48


@given(st.binary(min_size=48, max_size=48))
def test_it_survives_the_telephone(digest):
    printed = Fingerprint.of(digest)
    heard = printed.lower().replace("-", " ").replace("o", "0").replace("i", "1").replace("b", "8")
    assert Fingerprint(f"  {heard}\n") == printed


@pytest.mark.parametrize("name", CHANGING)
def test_a_new_card_disk_or_kernel_changes_nothing(device, name):
    assert factors(**{name: "another"}).fingerprint() == device.fingerprint()
    assert factors(**{name: "another"}).ignored == (name,)


@pytest.mark.parametrize("name", FACTORS)
def test_support_sees_which_factor_changed_and_no_other(device, name):
    other = factors(**{name: "9" + FACTORS[name][1:]})
    assert other.fingerprint() != device.fingerprint()
    document = FingerprintDocument.of(device, STAMP)
    assert document.differing(other.tags) == (name,)


def test_case_braces_and_spaces_are_no_new_device(device):
    assert (
        factors(
            product_uuid="{" + FACTORS["product_uuid"].upper() + "}",
            board_serial=" /7cqjm13/cn7016358 ",
        ).fingerprint()
        == device.fingerprint()
    )


@pytest.mark.parametrize(
    "blank",
    ["Default string", "To be filled by O.E.M.", "None", "", "00000000-0000-0000-0000-000000000000",
     "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "03000200-0400-0500-0006-000700080009"],
)  # fmt: skip
def test_what_manufacturers_leave_blank_is_no_factor(blank):
    found = factors(board_serial=blank)
    assert found.names == ("machine_id", "product_uuid")
    assert "blank" in found.unreadable["board_serial"]


def test_a_store_can_ask_for_fewer_factors_than_there_are(device):
    alone = Factors.of({"machine_id": FACTORS["machine_id"]}, {"product_uuid": "only root may"})
    assert device.fingerprint(("machine_id",)) == alone.fingerprint()


def test_a_factor_that_is_asked_for_and_not_there_is_named():
    found = Factors.of({"machine_id": FACTORS["machine_id"]}, {"product_uuid": "only root may"})
    with pytest.raises(FingerprintError) as error:
        found.fingerprint(("machine_id", "product_uuid"))
    assert "product_uuid: only root may" in error.value.text()


def test_no_factor_is_an_error_that_says_why():
    with pytest.raises(FingerprintError) as error:
        Factors.of({"hostname": "a"}, {"machine_id": "empty"}).fingerprint()
    assert "no factor is readable" in error.value.text()
    assert "machine_id: empty" in error.value.text()


def test_serial_numbers_alone_are_called_guessable(device):
    assert not device.issues
    assert "guessable" in factors(machine_id="").issues[0]


def test_nothing_printed_confirms_a_guessed_serial_number(device):
    """20 bits a factor: each is shared by a million guesses, whatever hash the attacker tries."""
    text = json.dumps(FingerprintDocument.of(device, STAMP, KEY).to_json()).lower()
    for name, value in FACTORS.items():
        assert value.lower() not in text
        for digest in ("md5", "sha1", "sha256", "sha384", "sha512"):
            for form in (value, value.lower(), f"{name}={value}"):
                assert hashlib.new(digest, form.encode()).hexdigest()[:16] not in text
    assert {len(tag) for tag in device.tags.values()} == {4}


def test_a_document_says_what_it_signed(device):
    document = FingerprintDocument.of(device, STAMP, KEY)
    again = FingerprintDocument.parse(json.dumps(document.to_json()).encode(), "F")
    again.check(KEY)
    assert again == document
    with pytest.raises(SignatureError):
        again.check(SharedKey("oem", b"another"))


def test_any_changed_field_of_a_document_is_found(device):
    signed = FingerprintDocument.of(device, STAMP, KEY).to_json()
    for name in signed["payload"]:
        changed = json.loads(json.dumps(signed))
        changed["payload"][name] = "forged" if name == "fingerprint" else {"forged": "x"}
        with pytest.raises(SignatureError):
            FingerprintDocument.parse(json.dumps(changed).encode(), "F").check(KEY)
    with pytest.raises(SignatureError):
        FingerprintDocument.parse(json.dumps(signed["payload"]).encode(), "F").check(KEY)


@pytest.mark.parametrize("data", [b"{}", b'{"payload": 1}', b'{"fingerprint": 4}', b"", b"a\x00b"])
def test_a_file_without_a_fingerprint_is_refused(data):
    with pytest.raises(FingerprintError):
        FingerprintDocument.parse(data, "F")


def test_an_old_tools_fingerprint_is_taken_as_it_is():
    assert FingerprintDocument.parse(b"OEM-DEVICE-1234\n", "F").fingerprint == "OEM-DEVICE-1234"


def smbios(product, serial):
    """A table as DSP0134 describes it: BIOS (0), System (1), Baseboard (2), end (127)."""
    system = struct.pack("<BBH4B", 1, 27, 1, 1, 2, 3, 4) + product.bytes_le + bytes(3)
    board = struct.pack("<BBH4B", 2, 8, 2, 1, 2, 0, 3 if serial else 0)
    return b"".join(
        (
            struct.pack("<BBH", 0, 4, 0) + b"\0\0",
            system + b"Dell\0XPS\x001\x00CN\0\0",
            board + b"Dell\x000TYR0X\0" + serial.encode() + b"\0\0",
            struct.pack("<BBH", 127, 4, 3) + b"\0\0",
        )
    )


def test_smbios_is_read_as_linux_shows_it():
    product = uuid.UUID(FACTORS["product_uuid"])
    assert factors_of(smbios(product, "SN1")) == {
        "product_uuid": FACTORS["product_uuid"],
        "board_serial": "SN1",
    }
    assert "board_serial" not in factors_of(smbios(product, ""))


def test_a_broken_off_smbios_table_gives_what_is_there():
    whole = smbios(uuid.uuid4(), "SN1")
    for length in range(len(whole)):
        found = factors_of(whole[:length])
        assert set(found.items()) <= set(factors_of(whole).items())


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_smbios_table_ends(table):
    assert set(factors_of(table)) <= {"product_uuid", "board_serial"}


def test_every_pair_of_factors_counts(device):
    prints = {device.fingerprint(pair) for pair in itertools.combinations(sorted(FACTORS), 2)}
    assert len({*prints, device.fingerprint()}) == 4
