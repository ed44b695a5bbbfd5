from __future__ import annotations

import json

import pytest

from repack.errors import LicenseError
from repack.license.encryption import Envelope, Header
from repack.license.fingerprint import Fingerprint
from repack.license.ledger import Ledger
from tests.licensing import NOW, license_of

LEDGER = Ledger(bytes(32)).install(license_of()).seen(NOW)
OWNER = Fingerprint("OEM-OLD-9999")


def test_it_reads_what_it_writes_and_keeps_what_it_does_not_know():
    raw = {**json.loads(json.dumps(LEDGER.to_json())), "later": [1]}
    again = Ledger.of(raw, "S")
    assert json.loads(json.dumps(again.to_json())) == raw
    assert again.highest == NOW


def test_a_new_ledger_has_no_time():
    assert Ledger(bytes(32)).to_json()["highest_time"] is None
    assert not Ledger(bytes(32)).is_set_back(NOW)
    assert Ledger.of(Ledger(bytes(32)).to_json(), "S").highest is None


@pytest.mark.parametrize(
    "change",
    [
        {"licenses": []},
        {"licenses": {"a": 4}},
        {"revoked": None},
        {"recoveries": ["x"]},
        {"recoveries": 4},
        {"highest_time": "yesterday"},
        {"highest_time": 4},
        {"report_key": "!"},
    ],
)
def test_a_damaged_ledger_is_refused(change):
    with pytest.raises(LicenseError, match="malformed"):
        Ledger.of({**LEDGER.to_json(), **change}, "S")
    with pytest.raises(LicenseError, match="malformed"):
        Ledger.of([], "S")


@pytest.mark.parametrize(
    ("name", "value"),
    [("kdf", []), ("kdf", None), ("salt", "!"), ("salt", "AAAA"), ("check", 4), ("nonce", "AA==")],
)
def test_an_envelope_with_a_field_of_another_kind_is_refused(name, value):
    data = Header(OWNER, (), 1, bytes(32), bytes(12)).encrypt(b"{}")
    document = json.loads(data)
    assert Envelope.parse(data, "S").open(OWNER, "S") == b"{}"
    if name == "salt":
        document["kdf"]["salt"] = value
    else:
        document[name] = value
    with pytest.raises(LicenseError):
        Envelope.parse(json.dumps(document).encode(), "S").open(OWNER, "S")
