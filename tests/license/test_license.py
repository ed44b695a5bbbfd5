from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from repack.errors import KeyRefusedError, LicenseError, RepackError, SignatureError, UsageError
from repack.keys.shared_key import SharedKey
from repack.keys.signed_json import sign_json, verify_json
from repack.license.license import Circumstances, License, draft, judge_license
from repack.timestamps import parse_date, stamp
from tests.licensing import KEY, NEW, NOW, OLD, OTHER_KEY, fields, license_of

HERE = Circumstances(OLD.text, NOW, KEY)


def pem(private, *, public=False):
    if public:
        form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return SharedKey("vendor", private.public_key().public_bytes(*form))
    return SharedKey(
        "vendor", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def status(licence, **changes):
    return judge_license(licence.raw, replace(HERE, **changes)).status


def test_a_good_licence_is_valid():
    verdict = judge_license(license_of().raw, HERE)
    assert verdict.is_right
    assert verdict.status == "valid"


@pytest.mark.parametrize("name", fields())
def test_any_forged_field_is_found(name):
    raw = {**license_of().raw}
    raw[name] = ["forged"] if isinstance(raw[name], list) else "2026-06-06"
    assert judge_license(raw, HERE).status == "bad-signature"


def test_an_added_field_is_found():
    assert judge_license({**license_of().raw, "seats": 5}, HERE).status == "bad-signature"


def test_fields_of_a_later_version_are_kept_and_signed():
    verdict = judge_license(license_of(seats=5).raw, HERE)
    assert verdict.is_right
    assert verdict.license.raw["seats"] == 5


def test_another_key_or_no_signature_is_bad():
    assert status(license_of(OTHER_KEY)) == "bad-signature"
    assert judge_license(fields(), HERE).status == "bad-signature"
    assert judge_license(fields(), replace(HERE, key=None)).status == "bad-signature"


def test_without_a_key_it_is_valid_but_not_right():
    verdict = judge_license(license_of().raw, replace(HERE, key=None))
    assert (verdict.status, verdict.signed, verdict.is_right) == ("valid", "unchecked", False)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2025-12-31T23:59:59Z", "not-yet"),
        ("2026-01-01T00:00:00Z", "valid"),
        ("2027-12-31T23:59:59Z", "valid"),
        ("2028-01-01T00:00:00Z", "expired"),
    ],
)
def test_the_last_day_counts_whole(moment, expected):
    assert status(license_of(), now=parse_date(moment, "start")) == expected


def test_any_of_its_devices_will_do():
    both = license_of(fingerprints=[str(OLD.text), str(NEW.text)])
    assert status(both, fingerprint=NEW.text) == "valid"
    assert status(license_of(), fingerprint=NEW.text) == "fingerprint-mismatch"


def test_another_label_is_an_issue():
    verdict = judge_license(license_of().raw, replace(HERE, label="other"))
    assert not verdict.is_right
    assert "label-mismatch" in verdict.issues


def test_the_gravest_comes_first_and_the_rest_is_named():
    raw = license_of(OTHER_KEY, not_after="2026-02-01", fingerprints=["X"]).raw
    verdict = judge_license(raw, HERE)
    assert verdict.status == "bad-signature"
    assert {"fingerprint-mismatch", "expired"} <= set(verdict.issues)


def move(old=OLD, new=NEW, key=KEY):
    return sign_json({"old_fingerprint": old.text, "new_fingerprint": new.text}, key)


def test_a_signed_recovery_moves_a_licence():
    assert status(license_of(), fingerprint=NEW.text, moves=(move(),)) == "valid"


def test_a_recovery_of_somebody_else_does_not():
    for key in (OTHER_KEY, SharedKey("store:abc", bytes(32))):
        found = status(license_of(), fingerprint=NEW.text, moves=(move(key=key),))
        assert found == "fingerprint-mismatch"
    by_store = (move(key=SharedKey("store:abc", bytes(32))),)
    assert status(license_of(), fingerprint=NEW.text, moves=by_store, key=None) == (
        "fingerprint-mismatch"
    )
    elsewhere = (move(old=NEW, new=NEW),)
    assert status(license_of(), fingerprint=NEW.text, moves=elsewhere) == "fingerprint-mismatch"


def test_a_forged_recovery_does_not():
    forged = {**move(new=OLD), "new_fingerprint": NEW.text}
    assert status(license_of(), fingerprint=NEW.text, moves=(forged, {})) == "fingerprint-mismatch"


def test_ed25519_signs_too():
    private = ed25519.Ed25519PrivateKey.generate()
    signed = license_of(pem(private))
    assert signed.raw["signature"]["algorithm"] == "ed25519"
    assert status(signed, key=pem(private, public=True)) == "valid"
    other = pem(ed25519.Ed25519PrivateKey.generate(), public=True)
    assert status(signed, key=other) == "bad-signature"


def test_a_public_key_is_no_hmac_key():
    """Whoever has the public key must not be able to sign by declaring it a shared one."""
    private = ed25519.Ed25519PrivateKey.generate()
    public = pem(private, public=True)
    from repack.keys.shared_key import sign_hmac_sha384

    forged = {**fields(), "signature": sign_hmac_sha384(fields(), public)}
    assert judge_license(forged, replace(HERE, key=public)).status == "bad-signature"
    with pytest.raises(SignatureError):
        verify_json(license_of(pem(private)).raw, KEY)


def test_keys_of_the_wrong_kind_are_refused():
    private = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(KeyRefusedError):
        verify_json(license_of(pem(private)).raw, pem(private))
    with pytest.raises(KeyRefusedError):
        sign_json(fields(), pem(private, public=True))
    with pytest.raises(KeyRefusedError):
        sign_json(fields(), pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(KeyRefusedError):
        verify_json(
            license_of(pem(private)).raw, SharedKey("v", b"-----BEGIN PUBLIC KEY-----\nx\n")
        )


def test_a_signature_that_is_none_is_said():
    private = ed25519.Ed25519PrivateKey.generate()
    public = pem(private, public=True)
    signed = license_of(pem(private)).raw
    with pytest.raises(SignatureError, match="no signature"):
        verify_json(fields(), KEY)
    for changes in ({"value": "!"}, {"value": 4}, {"algorithm": "none"}):
        with pytest.raises(SignatureError):
            verify_json({**signed, "signature": {**signed["signature"], **changes}}, public)
    with pytest.raises(SignatureError):
        verify_json({**signed, "signature": "x"}, public)
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyRefusedError, match="another kind"):
        verify_json(signed, SharedKey("v", other.public_bytes(*form)))


def test_a_move_that_makes_no_sense_is_passed_over():
    found = status(license_of(), moves=({"old_fingerprint": "a\x00"}, move()), fingerprint=NEW.text)
    assert found == "valid"


def test_a_licence_is_an_object():
    with pytest.raises(LicenseError, match="licence is malformed"):
        License.parse(b"[]", "L")


@pytest.mark.parametrize("name", fields())
@pytest.mark.parametrize("value", [None, 4, "", [1], {"a": 1}, "a\nb"])
def test_a_field_that_makes_no_sense_is_named(name, value):
    with pytest.raises(LicenseError) as error:
        License.of({**fields(), name: value}, "L.json")
    assert error.value.where == "L.json"


def test_a_licence_that_ends_before_it_begins_is_refused():
    with pytest.raises(UsageError):
        draft(fields(not_before="2027-01-02", not_after="2027-01-01"))


def test_a_licence_for_no_device_is_not_issued():
    with pytest.raises(UsageError):
        draft(fields(fingerprints=[]))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_licence_or_an_error(data):
    try:
        found = License.parse(data, "L")
    except RepackError:
        return
    assert found.license_id


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from([*fields(), "signature"]), json_values))
def test_no_unsigned_object_is_ever_right(raw):
    verdict = judge_license(json.loads(json.dumps(raw)), HERE)
    assert not verdict.is_right
    assert verdict.status == "bad-signature"


def test_dates_are_utc():
    assert stamp(parse_date("2026-11-21T14:00:00+02:00", "start")) == "2026-11-21T12:00:00Z"
    assert parse_date("2026-11-21", "start") == datetime(2026, 11, 21, tzinfo=UTC)
    for text in ("21.11.2026", "", "9999-12-31x", "2026-13-01", "9999-12-31T23:59:59-23:00"):
        with pytest.raises(UsageError):
            parse_date(text, "end")
