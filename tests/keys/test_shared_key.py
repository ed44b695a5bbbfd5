from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.errors import KeyRefusedError, SignatureError
from repack.keys.shared_key import SharedKey, check_hmac_sha384, parse_key, sign_hmac_sha384

SECRET = bytes(range(32))
B64 = base64.b64encode(SECRET).decode()


def no_file(path):
    pytest.fail(f"{path} was read")


def resolve(text, environment=None, files=None):
    return parse_key(text).resolve(environment or {}, (files or {}).__getitem__)


@pytest.mark.parametrize(
    ("text", "key_id"),
    [
        (B64, None),
        (f"base64:{B64}", None),
        (f"hex:{SECRET.hex()}", None),
        (f"hex:{SECRET.hex().upper()}", None),
        (f"oem-updates={B64}", "oem-updates"),
        (f"SERVICE={B64}", "SERVICE"),
        (f"a@b:1=base64:{B64}", "a@b:1"),
        (f"  {B64}\n", None),
    ],
)
def test_inline_forms(text, key_id):
    assert resolve(text) == SharedKey(key_id, SECRET)


def test_documented_example():
    assert resolve("SERVICE=U2VjcmV0S21leQ==") == SharedKey("SERVICE", b"SecretKmey")


@pytest.mark.parametrize(
    ("content", "key_id"),
    [(B64, None), (f"hex:{SECRET.hex()}\n", None), (f"base64:{B64}", None), (f"me={B64}", "me")],
)
def test_variable(content, key_id):
    assert resolve("env:K", {"K": content}) == SharedKey(key_id, SECRET)
    assert resolve("mine=env:K", {"K": content}) == SharedKey("mine", SECRET)


@pytest.mark.parametrize(
    "content",
    [SECRET, B64.encode() + b"\r\n", b"hex:" + SECRET.hex().encode() + b"\n", f"id={B64}".encode()],
)
def test_file(content):
    assert resolve("file:/a=b/k", files={"/a=b/k": content}).secret == SECRET


@pytest.mark.parametrize("raw", [b"k" * 32, b"k" * 48, bytes(range(100, 200)), b"a pass phrase\n"])
def test_file_of_raw_bytes(raw):
    assert resolve("x=file:k", files={"k": raw}) == SharedKey("x", raw)


@given(st.binary(min_size=1, max_size=80))
def test_every_key_survives_every_inline_form(secret):
    encoded = base64.b64encode(secret).decode()
    assert resolve(f"base64:{encoded}").secret == secret
    assert resolve(f"ID={encoded}").secret == secret
    assert resolve(f"ID=hex:{secret.hex()}").secret == secret


@pytest.mark.parametrize(
    "text",
    ["", " ", "=", "==", "hex:", "base64:", "env:", "file:", "SERVICE=", "oem-updates=", "id=hex:",
     "hex:abc", "hex:zz", "hex:ab cd", "base64:abc", "base64:ab=c", "!!!!", "abc", "Zh==", "-x=QUJD",
     "id=env:", "hex:٣٣"],
)  # fmt: skip
def test_bad_syntax_is_refused_without_repeating_it(text):
    with pytest.raises(KeyRefusedError) as caught:
        resolve(text)
    secret = text.rpartition(":")[2]
    assert len(secret) < 3 or f" {secret}" not in caught.value.text()


@pytest.mark.parametrize("content", ["", "  ", "hex:", "secret!", "env:OTHER", "file:/etc/passwd"])
def test_bad_variable_is_refused_by_name(content):
    with pytest.raises(KeyRefusedError, match="K"):
        resolve("env:K", {"K": content, "OTHER": B64})


def test_unset_variable_and_empty_file():
    with pytest.raises(KeyRefusedError, match="variable K is not set"):
        resolve("env:K")
    with pytest.raises(KeyRefusedError, match="empty"):
        resolve("file:k", files={"k": b""})


def test_odd_hex_in_a_file_is_no_raw_key():
    with pytest.raises(KeyRefusedError):
        resolve("file:k", files={"k": b"hex:abc"})


def test_inline_secret_reads_no_file():
    assert parse_key(B64).resolve({}, no_file).secret == SECRET


def test_no_secret_in_repr():
    ref = parse_key(f"hex:{SECRET.hex()}")
    assert SECRET.hex() not in repr(ref)
    assert repr(SECRET) not in repr(ref.resolve({}, no_file))


def test_short_keys_warn():
    assert "10 bytes" in (resolve("SERVICE=U2VjcmV0S21leQ==").warning or "")
    assert resolve(B64).warning is None


def test_signature_is_plain_hmac_of_canonical_json():
    payload = {"b": "ü", "a": [1, None]}
    signed = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = hmac.new(SECRET, signed.encode(), hashlib.sha384).digest()
    signature = sign_hmac_sha384(payload, SharedKey("me", SECRET))
    assert signature == {
        "algorithm": "hmac-sha384",
        "value": base64.b64encode(expected).decode(),
        "key_id": "me",
    }
    check_hmac_sha384(payload, json.loads(json.dumps(signature)), SharedKey(None, SECRET))


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "hmac-sha256"},
        {"algorithm": "none"},
        {"algorithm": None},
        {"algorithm": ["hmac-sha384"]},
        {"algorithm": "HMAC-SHA384"},
        {"value": ""},
        {"value": None},
        {"value": "!"},
        {"value": base64.b64encode(bytes(48)).decode()},
        {"value": "ü"},
    ],
    ids=str,
)
def test_forged_signatures_are_refused(change):
    good = sign_hmac_sha384({"a": 1}, SharedKey("me", SECRET))
    with pytest.raises(SignatureError):
        check_hmac_sha384({"a": 1}, {**good, **change}, SharedKey("me", SECRET))


@pytest.mark.parametrize("signature", [None, [], "x", {}])
def test_malformed_signatures_are_refused(signature):
    with pytest.raises(SignatureError):
        check_hmac_sha384({"a": 1}, signature, SharedKey("me", SECRET))


def test_other_key_or_payload_is_refused():
    good = sign_hmac_sha384({"a": 1}, SharedKey("me", SECRET))
    with pytest.raises(SignatureError, match="another key"):
        check_hmac_sha384({"a": 1}, good, SharedKey("me", bytes(32)))
    with pytest.raises(SignatureError):
        check_hmac_sha384({"a": 2}, good, SharedKey("me", SECRET))


def test_fingerprints_tell_keys_apart():
    one, other = SharedKey("a", SECRET), SharedKey("a", bytes(32))
    assert one.fingerprint == SharedKey("b", SECRET).fingerprint != other.fingerprint
