"""Credentials from rattler's auth store and .netrc."""

from __future__ import annotations

import json

import pytest

from repack.errors import UsageError
from repack.upstream.credentials import Credentials, basic


def bearer(token):
    return {"BearerToken": token}


@pytest.fixture
def stored(tmp_path):
    def store(entries, home=tmp_path) -> Credentials:
        path = home / ".rattler" / "credentials.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entries))
        return Credentials.from_environment({}, home)

    return store


def test_nothing_there(tmp_path):
    assert Credentials.from_environment({}, tmp_path).of("example.org") is None


@pytest.mark.parametrize(
    ("host", "token"),
    [
        ("prefix.dev", "wild"),
        ("repo.prefix.dev", "wild"),
        ("a.b.prefix.dev", "wild"),
        ("exact.prefix.dev", "exact"),
        ("EXACT.prefix.dev", "exact"),
        ("notprefix.dev", None),
        ("dev", None),
        ("10.0.0.1", "address"),
        ("0.0.1", None),
    ],
)
def test_wildcards(stored, host, token):
    entries = {"*.prefix.dev": bearer("wild"), "exact.prefix.dev": bearer("exact")}
    access = stored({**entries, "10.0.0.1": bearer("address")}).of(host)
    assert (access and access.header) == (token and f"Bearer {token}")


def test_the_file_of_the_environment_goes_first(tmp_path, stored):
    stored({"a": bearer("home"), "b": bearer("home")})
    named = tmp_path / "auth.json"
    named.write_text(json.dumps({"a": bearer("named")}))
    (tmp_path / ".netrc").write_text("machine a login l password p\nmachine c login l password p")
    found = Credentials.from_environment({"RATTLER_AUTH_FILE": str(named)}, tmp_path)
    sources = [found.of(host).source for host in "abc"]
    assert sources == [
        str(named),
        str(tmp_path / ".rattler" / "credentials.json"),
        str(tmp_path / ".netrc"),
    ]


def test_kinds_that_no_plain_request_can_show_are_left_out(stored):
    found = stored({"a": {"S3Credentials": {}}, "b": {"OAuth": {"access_token": "x"}}})
    assert found.of("a") is found.of("b") is None


def test_a_user_without_password_is_a_token():
    assert basic("tk-1", "", "the URL").secrets[0] == "tk-1"
    assert basic("me", "pw-1", "the URL").secrets[0] == "pw-1"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1}', '{"a": {"BasicHTTP": {"username": "secret"}}}', "\udcff"]
)
def test_a_broken_store_is_named_and_not_quoted(tmp_path, text):
    path = tmp_path / "secret.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        Credentials.from_environment({"RATTLER_AUTH_FILE": str(path)}, tmp_path)
    assert caught.value.where == str(path)
    assert caught.value.got is None


def test_a_broken_netrc_is_named_and_not_quoted(tmp_path):
    (tmp_path / ".netrc").write_text("machine a\nlogin me\nhunter2 hunter3\n")
    with pytest.raises(UsageError) as caught:
        Credentials.from_environment({}, tmp_path)
    assert str(tmp_path / ".netrc") in caught.value.where
    assert "hunter" not in caught.value.text()


def test_secrets_never_show_in_a_repr(stored):
    found = stored({"a": bearer("tk-1")})
    assert "tk-1" not in repr(found) + repr(found.of("a"))
