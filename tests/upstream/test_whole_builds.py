"""Whole builds by every way that companies reach a channel: repodata and archives both arrive."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time

import keyring
import pytest
from keyring.backend import KeyringBackend

from repack.upstream.client import Upstream
from repack.upstream.credentials import Keyring
from tests import servers, socks, tiny, world
from tests.certificates import authority, client_certificate, hashed_folder

VARIABLES = (
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "CONDARC"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "RATTLER_AUTH_FILE", "NETRC"),
    *("CONDA_EXE", "CONDA_PREFIX", "CONDA_SSL_VERIFY", "XDG_CONFIG_HOME", "PIXI_HOME"),
)


class OwnKeyring(KeyringBackend):
    """Holds ``{(service, user): password}``."""

    priority = 1

    def __init__(self, entries, pause=0.0):
        super().__init__()
        self.entries, self.pause, self.asked = entries, pause, []

    def get_password(self, service, username):
        self.asked.append((service, username))
        time.sleep(self.pause)
        return self.entries.get((service, username))

    def set_password(self, service, username, password):
        raise NotImplementedError

    def get_credential(self, service, username):
        for (known, user), password in self.entries.items():
            if known == service:
                return keyring.credentials.SimpleCredential(user, password)
        return None


@pytest.fixture
def use_keyring():
    before = keyring.get_keyring()

    def use(entries, pause=0.0):
        backend = OwnKeyring(entries, pause)
        keyring.set_keyring(backend)
        return backend

    yield use
    keyring.set_keyring(before)


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return home


@pytest.fixture
def vendor(tmp_path, home):
    return world.World(tmp_path / "vendor")


def upstream_files(vendor):
    return {
        f"/c/{path.relative_to(vendor.upstream).as_posix()}": path.read_bytes()
        for path in vendor.upstream.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def files(vendor):
    return upstream_files(vendor)


@pytest.fixture
def site(files):
    with servers.serving(servers.Site(files=files)) as site:
        yield site


@pytest.fixture
def tls(tmp_path):
    return authority(tmp_path)


@pytest.fixture
def tls_site(files, tls):
    with servers.serving(servers.Site(files=files), tls=tls[1]) as site:
        yield site


def build(vendor, url):
    """Build from the channel at ``url``; what is published has upstream's records and archives."""
    result = vendor.build("--prove", "solved", channels=[url])
    assert result["bytes_fetched"] > 0
    world.check(vendor.channel)
    for subdir in ("noarch", "linux-64", "win-64"):
        theirs = world.records(vendor.upstream, subdir)
        ours = world.records(vendor.channel, subdir)
        assert {fn: ours[fn] for fn in ours if not fn.startswith("bank-")} == {
            fn: theirs[fn] for fn in ours if not fn.startswith("bank-")
        }
    return result


def arrived(site) -> tuple[bool, bool]:
    paths = site.paths()
    return (
        any(path.endswith(("/repodata.json", "/repodata.json.zst")) for path in paths),
        any(path.endswith((".conda", ".tar.bz2")) for path in paths),
    )


@pytest.mark.parametrize(
    "way", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "ssl_verify"]
)
def test_an_authority_of_ones_own(vendor, home, tls, tls_site, monkeypatch, tmp_path, way):
    ca, _ = tls
    if way == "ssl_verify":
        (home / ".condarc").write_text(f"ssl_verify: {ca}\n")
    elif way == "SSL_CERT_DIR":
        monkeypatch.setenv(way, str(hashed_folder(tmp_path / "certs", ca)))
    else:
        monkeypatch.setenv(way, str(ca))
    build(vendor, f"{tls_site.url}/c")
    assert arrived(tls_site) == (True, True)


def test_a_client_certificate(vendor, home, files, tls, tmp_path):
    ca, context = tls
    certificate, key = client_certificate(tmp_path)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with servers.serving(servers.Site(files=files), tls=context) as site:
        condarc = f"ssl_verify: {ca}\nclient_ssl_cert: {certificate}\n"
        (home / ".condarc").write_text(condarc)
        vendor.fail(2, channels=[f"{site.url}/c"])  # no key
        (home / ".condarc").write_text(f"{condarc}client_ssl_cert_key: {key}\n")
        build(vendor, f"{site.url}/c")
        assert arrived(site) == (True, True)


def test_mirrors(vendor, home, site):
    (home / ".pixi").mkdir()
    (home / ".pixi/config.toml").write_text(
        f'[mirrors]\n"https://conda.example.invalid" = ["{site.url}/gone", "{site.url}"]\n'
    )
    build(vendor, "https://conda.example.invalid/c")
    assert arrived(site) == (True, True)


@pytest.fixture
def proxy(site):
    """A proxy that alone knows where ``repo.invalid`` is."""
    handler = servers.proxy_to(site)
    with servers.serving(servers.Site(), handler=handler) as proxy:
        yield proxy


def test_proxy_servers_of_conda(vendor, home, site, proxy):
    (home / ".condarc").write_text(f"proxy_servers:\n  http: {proxy.url}\n")
    build(vendor, "http://repo.invalid/c")
    assert arrived(site) == (True, True)


def test_proxy_config_of_pixi(vendor, home, site, proxy):
    (home / ".pixi").mkdir()
    (home / ".pixi/config.toml").write_text(f'[proxy-config]\nhttp = "{proxy.url}"\n')
    build(vendor, "http://repo.invalid/c")
    assert arrived(site) == (True, True)


@pytest.mark.parametrize("rule", ["*", ".localhost", "localhost:{port}", "127.0.0.0/8"])
def test_no_proxy(vendor, site, monkeypatch, rule):
    port = site.url.rpartition(":")[2]
    host = "127.0.0.1" if rule.startswith("127") else "localhost"
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", rule.format(port=port))
    build(vendor, f"http://{host}:{port}/c")
    assert arrived(site) == (True, True)


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def wanting(header: str):
    """Answers 401 to whoever does not show ``header``."""

    class Handler(servers.Handler):
        def do_GET(self):  # noqa: N802
            if self.headers.get("Authorization") != header:
                self.answer(401, b"")
            else:
                super().do_GET()

    return Handler


@pytest.mark.parametrize(
    ("entries", "header"),
    [
        ({("rattler", "127.0.0.1"): json.dumps({"BearerToken": "kr-1"})}, "Bearer kr-1"),
        ({("127.0.0.1", "me"): "kr-1"}, basic("me:kr-1")),
    ],
)
def test_a_keyring_entry(vendor, home, files, use_keyring, entries, header):
    use_keyring(entries)
    with servers.serving(servers.Site(files=files), handler=wanting(header)) as site:
        build(vendor, f"{site.url}/c")
        assert arrived(site) == (True, True)
        upstream = Upstream.from_environment({}, home)
        with upstream.open(f"{site.url}/c/noarch/repodata.json") as response:
            assert response.read(1)
        assert "kr-1" in upstream.secrets()
        upstream.close()


def test_a_keyring_that_does_not_answer_is_asked_once(use_keyring):
    backend = use_keyring({("rattler", "a"): "{}"}, pause=5.0)
    mine = Keyring(patience=0.1)
    assert mine.of("a") is None
    assert mine.of("b") is None
    assert mine.is_silent
    assert len(backend.asked) == 1


def test_a_broken_keyring_stops_nothing(use_keyring):
    use_keyring({("rattler", "a"): "not JSON"})
    assert Keyring().of("a") is None


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxy_tls", [False, True])
def test_a_proxy_that_wants_a_password(
    vendor, files, tls, tmp_path, monkeypatch, scheme, proxy_tls
):
    """Plain or over TLS, to servers with and without TLS."""
    ca, context = tls
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca))
    site = servers.Site(files=files)
    with servers.serving(site, tls=context if scheme == "https" else None):
        handler = servers.proxy_to(site)
        with servers.serving(
            servers.Site(), tls=context if proxy_tls else None, handler=handler
        ) as proxy:
            proxy.etags["auth"] = basic("pü:p@ss")
            monkeypatch.setenv("ALL_PROXY", proxy.url.replace("//", "//p%C3%BC:p%40ss@"))
            # The certificate is for the address.
            host = "127.0.0.1" if scheme == "https" else "repo.invalid"
            build(vendor, f"{scheme}://{host}/c")
            assert arrived(site) == (True, True)
            assert len(proxy.asked) > 0


def test_a_plain_proxy_that_wants_a_password_by_rattler(vendor, site, proxy, monkeypatch):
    proxy.etags["auth"] = basic("pu:pp")
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//pu:pp@"))
    build(vendor, "http://repo.invalid/c")
    assert arrived(site) == (True, True)


@pytest.mark.parametrize("password", [None, "s@cret"])
def test_a_socks_proxy(vendor, site, monkeypatch, password):
    address = ("127.0.0.1", int(site.url.rpartition(":")[2]))
    with socks.serving({"repo.invalid": address}, password and ("me", password)) as proxy:
        user = "me:s%40cret@" if password else ""
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{user}127.0.0.1:{proxy.port}")
        build(vendor, "http://repo.invalid/c")
        assert arrived(site) == (True, True)
        assert proxy.hosts == {"repo.invalid"}


def test_repodata_that_is_the_same_is_not_sent_again(vendor, files, home, site):
    """The second solve gets an answer without a body, the third the file that changed."""
    (home / ".netrc").write_text("machine 127.0.0.1 login me password np-1\n")
    (home / ".netrc").chmod(0o600)
    build(vendor, f"{site.url}/c")
    vendor.build("--update", "--prove", "solved")
    asked = site.of("/c/noarch/repodata.json.zst")
    assert ["if-none-match" in request.headers for request in asked] == [False, True]
    newer = tiny.Package("tiny-new", subdir="noarch", noarch="generic")
    vendor.serve(*tiny.PACKAGES, newer)
    site.files.update(upstream_files(vendor))
    built = vendor.build("--update", "--prove", "solved", packages=["tiny-app", "tiny-new"])
    assert any("tiny-new" in path for path in built["added"])


def test_a_subdir_that_a_channel_does_not_have(vendor, home, site):
    (home / ".netrc").write_text("machine 127.0.0.1 login me password np-1\n")
    (home / ".netrc").chmod(0o600)
    for path in [path for path in site.files if path.startswith("/c/linux-64/")]:
        del site.files[path]
    text = vendor.fail(4, channels=[f"{site.url}/c"])
    assert "linux-64" in text
    text = vendor.fail(5, channels=[f"{site.url}/nothing"])
    assert "no conda channel is there" in text


@pytest.mark.parametrize("data", [b"<html>log in</html>", b'{"packages": {'])
def test_repodata_that_is_none(vendor, home, site, data):
    (home / ".netrc").write_text("machine 127.0.0.1 login me password np-1\n")
    (home / ".netrc").chmod(0o600)
    site.files["/c/noarch/repodata.json.zst"] = data
    assert "damaged" in vendor.fail(5, channels=[f"{site.url}/c"])
    del site.files["/c/noarch/repodata.json.zst"]
    site.files["/c/noarch/repodata.json"] = data
    text = vendor.fail(5, channels=[f"{site.url}/c"])
    assert "damaged" in text
    assert "np-1" not in text


def test_threads_open_one_session(site):
    upstream, failed = Upstream(), []

    def read():
        try:
            with upstream.open(f"{site.url}/c/noarch/repodata.json") as response:
                assert response.read(1)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(site.asked) == 8
    assert not failed
    upstream.close()
