"""`repack doctor --network URL`: every setting with its source, and no secret."""

from __future__ import annotations

import contextlib
import io
import json

import pytest

from repack.cli.main import run
from repack.errors import RepackError
from repack.support.network import find_routes
from repack.upstream.network import Network

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return tmp_path


def doctor(*arguments) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run(["doctor", *arguments]) == 0
    return out.getvalue()


def test_every_setting_with_its_source(home, monkeypatch):
    (home / "ca.pem").write_text("x")
    (home / ".condarc").write_text("client_ssl_cert: /c.pem\n")
    (home / ".netrc").write_text("machine mirror.example.org login me password np-1\n")
    (home / ".netrc").chmod(0o600)
    (home / ".pixi").mkdir()
    config = home / ".pixi/config.toml"
    config.write_text(
        '[mirrors]\n"https://conda.example.org" = ["https://mirror.example.org/x", "file:///m"]\n'
    )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(home / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://pu:pp-1@proxy:3128")
    url = "https://conda.example.org/t/tk-1/forge"
    first, second = json.loads(doctor("--network", url, "--json"))
    assert first == {
        "channel": "https://conda.example.org/forge",
        "location": "https://mirror.example.org/x/forge",
        "mirror_set_by": str(config),
        "certificates": f"{home / 'ca.pem'} (set by REQUESTS_CA_BUNDLE)",
        "client_certificate": "/c.pem",
        "proxy": "http://proxy:3128",
        "proxy_set_by": "HTTPS_PROXY",
        "credentials": str(home / ".netrc"),
        "repodata": "by repack, as rattler's client cannot use a mirror",
    }
    assert second["location"] == "file:///m/t/***/forge"
    assert (second["proxy"], second["certificates"], second["credentials"]) == (None, None, None)
    text = doctor("--network", url)
    for word in ("REQUESTS_CA_BUNDLE", "HTTPS_PROXY", ".netrc", "a mirror", "/c.pem"):
        assert word in text
    for secret in ("np-1", "pp-1", "tk-1"):
        assert secret not in text + json.dumps(first)


def test_nothing_set(home):
    (route,) = find_routes("https://u:pw-1@conda.example.org/c", Network())
    assert route.to_json() == {
        "channel": "https://conda.example.org/c",
        "location": "https://conda.example.org/c",
        "mirror_set_by": None,
        "certificates": "those of the system",
        "client_certificate": None,
        "proxy": None,
        "proxy_set_by": None,
        "credentials": "the URL",
        "repodata": "by repack, as rattler's client cannot use a secret in the URL",
    }
    assert "pw-1" not in "\n".join(route.lines())


def test_a_url_that_is_none():
    with pytest.raises(RepackError, match="not a place"):
        list(find_routes("ftp://conda.example.org/c", Network()))
