from __future__ import annotations

import base64
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from repack.support.redact import redact, secrets_of

SECRET = "hunter2-Zx81"
PEM = (
    ed25519.Ed25519PrivateKey.generate()
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


@pytest.mark.parametrize(
    "line",
    [
        f"GET https://user:{SECRET}@conda.example.org/x",
        f"GET https://conda.example.org/t/{SECRET}/prometeia/noarch",
        f"GET https://conda.example.org/x?token={SECRET}&a=1",
        f"Authorization: Bearer {SECRET}",
        f'"authorization": "Basic {SECRET}"',
        f"curl -H 'X: y' --token {SECRET}",
        f"HALKBANK_TOKEN={SECRET}",
        f'{{"password": "{SECRET}", "user": "u"}}',
        f"db_password : {SECRET}",
        f"api-key: '{SECRET}'",
        f"repack verify --key {SECRET}",
        f"--hmac-key=oem={SECRET}",
        f"Set-Cookie: {SECRET}; path=/",
    ],
)
def test_a_secret_is_taken_out_of_a_log(line):
    assert SECRET not in redact(line)
    assert "***" in redact(line) or "example.org" in redact(line)


@pytest.mark.parametrize(
    "line",
    [
        "repack license verify --hmac-key env:OEM_LICENSE_HMAC_KEY",
        '"key_id": "oem-updates", "signature": {"value": "AAECAwQF"}',
        "built halkbank release 12 in 3.4 s",
        '"signing_key": null, "token": ***',
        "https://conda.example.org/prometeia/noarch/pytho-1.0-0.conda",
        "the key is empty",
    ],
)
def test_what_support_must_see_stays(line):
    assert redact(line) == line


@pytest.mark.parametrize("cut", [0, 30, 60])
def test_a_private_key_is_taken_out_even_if_cut(cut):
    body = PEM.splitlines()[1]
    for text in (f"a\n{PEM}b\n", f"{PEM[cut:]}b\n", f"a\n{PEM[: len(PEM) - cut]}\n"):
        assert body[40:] not in redact(text)
    assert redact(f"a\n{PEM}b\n") == "a\n***\nb\n"


def test_a_key_in_a_log_with_time_stamps_is_taken_out():
    lines = [f"2026-11-21 12:00:00 INFO {line}\n" for line in PEM.splitlines()]
    after = "2026-11-21 12:00:01 INFO all is well.\n"
    for cut in (lines, lines[:-1], lines[1:]):
        assert redact("".join([after, *cut, after])) == f"{after}***\n{after}"


def test_two_keys_and_a_headed_one_are_taken_out():
    headed = PEM.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,00\n\n", 1)
    assert redact(f"a\n{PEM}{PEM}b\n{headed}") == "a\n***\nb\n***\n"
    assert redact(f"{headed[: len(headed) // 2]}") == "***\n"


def test_values_of_secret_variables_are_found_in_every_form():
    key = bytes(range(48))
    secrets = secrets_of(
        {
            "OEM_LICENSE_HMAC_KEY": "oem=base64:" + base64.b64encode(key).decode(),
            "HALKBANK_TOKEN": SECRET,
            "PATH": "/usr/bin",
            "DEBUG_TOKEN": "true",
            "SIGNING_KEY": "file:/etc/key",
        }
    )
    for form in (base64.b64encode(key).decode(), key.hex(), SECRET):
        assert form not in redact(f"x {form} y", secrets)
    assert redact("/usr/bin true file:/etc/key", secrets) == "/usr/bin true file:/etc/key"


@pytest.mark.parametrize("run", ["a", "-", "token", "--", "a.", " ", "bearer ", "\n", "0:"])
def test_one_line_of_megabytes_takes_no_minutes(run):
    began = time.process_time()  # backtracking would take hours of it
    redact(run * (1_000_000 // len(run)))
    assert time.process_time() - began < 100


@given(st.text(max_size=300))
def test_any_text_is_redacted_twice_the_same(text):
    once = redact(text)
    assert redact(once) == once
