"""Upstream: credentials, redirects, proxies, certificates, against real servers."""

from __future__ import annotations

import base64
import json
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest
from requests.exceptions import InvalidSchema

from repack.errors import FetchError, UsageError
from repack.upstream.client import RetryPolicy, Timeouts, Upstream
from repack.upstream.errors import HostRefusedError, NotAvailableError, TransientError
from repack.upstream.network import Network
from tests import servers, socks
from tests.certificates import authority

PATH = "/noarch/a-1-0.conda"


@pytest.fixture
def site():
    with servers.serving(servers.Site(files={PATH: b"archive"})) as site:
        yield site


@pytest.fixture
def upstream(tmp_path):
    made = []

    def make(environ=None, home=tmp_path / "home", **other) -> Upstream:
        one = Upstream.from_environment(environ or {}, home, **other)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def read(upstream: Upstream, url: str) -> bytes:
    with upstream.open(upstream.locations(url)[0]) as response:
        data = b""
        while part := response.read(1000):
            data += part
    return data


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def auth_file(tmp_path, entries) -> dict[str, str]:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps(entries))
    return {"RATTLER_AUTH_FILE": str(path)}


def netrc(tmp_path, text: str) -> dict[str, str]:
    path = tmp_path / "netrc"
    path.write_text(text)
    path.chmod(0o600)
    return {"NETRC": str(path)}


def test_a_plain_request_shows_nothing(site, upstream):
    assert read(upstream(), site.url + PATH) == b"archive"
    (request,) = site.asked
    assert "authorization" not in request.headers
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("repack/")


def test_connections_are_used_again_and_replaced_when_dead(site, upstream):
    one = upstream()
    for _ in range(3):
        read(one, site.url + PATH)
    assert site.connections == 1
    site.once[PATH] = [servers.until_close()]
    read(one, site.url + PATH)
    read(one, site.url + PATH)
    assert site.connections == 2
    # The server hangs up on the idle connection: asked once more, unseen.
    site.once[PATH] = [lambda handler, data: handler.hang_up() or True]
    assert read(one, site.url + PATH) == b"archive"


def test_a_short_error_page_does_not_cost_the_connection(site, upstream):
    one = upstream()
    with pytest.raises(NotAvailableError):
        read(one, site.url + "/gone")
    read(one, site.url + PATH)
    assert site.connections == 1


@pytest.mark.parametrize(
    ("entry", "header"),
    [
        ({"BearerToken": "bt-1"}, "Bearer bt-1"),
        ({"BasicHTTP": {"username": "u", "password": "bt-1"}}, basic("u:bt-1")),
    ],
)
def test_rattlers_auth_store(site, upstream, tmp_path, entry, header):
    one = upstream(auth_file(tmp_path, {"127.0.0.1": entry}))
    read(one, site.url + PATH)
    assert site.asked[0].headers["authorization"] == header
    assert "bt-1" in one.secrets()


def test_a_conda_token_goes_into_the_path(site, upstream, tmp_path):
    site.files[f"/t/ct-1{PATH}"] = b"secret archive"
    one = upstream(auth_file(tmp_path, {"127.0.0.1": {"CondaToken": "ct-1"}}))
    assert read(one, site.url + PATH) == b"secret archive"
    assert one.secrets() == {"ct-1"}
    with pytest.raises(NotAvailableError) as caught:
        read(one, f"{site.url}/gone")
    assert "ct-1" not in caught.value.text()


def test_a_token_in_the_url_stays_there(site, upstream, tmp_path):
    site.files[f"/t/mine{PATH}"] = b"secret archive"
    one = upstream(auth_file(tmp_path, {"127.0.0.1": {"CondaToken": "other"}}))
    assert read(one, f"{site.url}/t/mine{PATH}") == b"secret archive"
    assert "mine" in one.secrets()


def test_user_and_password_in_the_url(site, upstream):
    one = upstream()
    read(one, site.url.replace("//", "//me:p%40ss@") + PATH)
    assert site.asked[0].headers["authorization"] == basic("me:p@ss")
    assert "@" not in site.asked[0].headers["host"]
    assert {"p@ss", "p%40ss", base64.b64encode(b"me:p@ss").decode()} <= one.secrets()


@pytest.mark.parametrize("token", ["tk-1\r\nX-Evil: 1", "tk-1\u20ac"])
def test_a_token_that_http_cannot_carry(site, upstream, tmp_path, token):
    one = upstream(auth_file(tmp_path, {"127.0.0.1": {"BearerToken": token}}))
    with pytest.raises(NotAvailableError, match="characters") as caught:
        read(one, site.url + PATH)
    assert "tk-1" not in caught.value.text()
    assert caught.value.__cause__ is None
    assert not site.asked


def test_netrc_and_its_default(site, upstream, tmp_path):
    one = upstream(netrc(tmp_path, "machine 127.0.0.1 login me password np-1\n"))
    read(one, site.url + PATH)
    assert site.asked[0].headers["authorization"] == basic("me:np-1")
    assert "np-1" in one.secrets()
    two = upstream(
        netrc(tmp_path, "machine elsewhere login x password y\ndefault login d password e")
    )
    read(two, site.url + PATH)
    assert site.asked[1].headers["authorization"] == basic("d:e")


def test_refused_credentials_name_their_file_and_not_themselves(site, upstream, tmp_path):
    site.always[PATH] = servers.status(401)
    environ = netrc(tmp_path, "machine 127.0.0.1 login me password np-1\n")
    with pytest.raises(HostRefusedError) as caught:
        read(upstream(environ), site.url + PATH)
    assert environ["NETRC"] in caught.value.text()
    assert "np-1" not in caught.value.text()


def test_a_redirect_within_the_origin_keeps_credentials(site, upstream):
    site.always["/old"] = servers.redirect(PATH)
    assert read(upstream(), site.url.replace("//", "//me:pw@") + "/old") == b"archive"
    assert site.asked[1].headers["authorization"] == basic("me:pw")


def test_a_redirect_to_another_origin_drops_them_for_good(site, upstream, tmp_path):
    environ = auth_file(tmp_path, {"127.0.0.1": {"BearerToken": "bt-1"}})
    with servers.serving(servers.Site()) as other:
        site.always["/old"] = servers.redirect(f"{other.url}/there", code=307)
        other.always["/there"] = servers.redirect(site.url + PATH, code=308)
        assert read(upstream(environ), f"{site.url}/old") == b"archive"
        assert "authorization" not in other.asked[0].headers
    assert "authorization" in site.asked[0].headers
    assert "authorization" not in site.asked[1].headers


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_off_the_web_is_refused(site, upstream, target):
    site.always["/old"] = servers.redirect(target)
    with pytest.raises(NotAvailableError, match="not a place"):
        read(upstream(), f"{site.url}/old")


def test_a_redirect_from_https_to_http_is_refused(site, tmp_path, upstream):
    ca, context = authority(tmp_path)
    with servers.serving(servers.Site(), tls=context) as safe:
        safe.always["/old"] = servers.redirect(site.url + PATH)
        with pytest.raises(NotAvailableError, match="from https to http") as caught:
            read(upstream({"SSL_CERT_FILE": str(ca)}), safe.url.replace("//", "//me:pw@") + "/old")
        assert "pw" not in caught.value.text()
    assert not site.asked


def test_a_redirect_from_http_to_https_drops_credentials(tmp_path, site, upstream):
    ca, context = authority(tmp_path)
    with servers.serving(servers.Site(files={PATH: b"archive"}), tls=context) as safe:
        site.always["/old"] = servers.redirect(safe.url + PATH)
        one = upstream({"SSL_CERT_FILE": str(ca)})
        assert read(one, site.url.replace("//", "//me:pw@") + "/old") == b"archive"
        assert "authorization" in site.asked[0].headers
        assert "authorization" not in safe.asked[0].headers


def test_a_circle_of_redirects_ends(site, upstream):
    site.always["/old"] = servers.redirect("/old")
    with pytest.raises(NotAvailableError, match="too often"):
        read(upstream(), f"{site.url}/old")


def test_odd_characters_in_a_url(site, upstream):
    site.files["/a%20b/%C3%BC+x!1.conda"] = b"odd"
    assert read(upstream(), f"{site.url}/a b/ü+x!1.conda") == b"odd"
    assert read(upstream(), f"{site.url}/a%20b/%C3%BC+x!1.conda") == b"odd"
    site.always["/old"] = servers.status(
        302, {"Location": "/a b/ü+x!1.conda".encode().decode("latin-1")}
    )
    assert read(upstream(), f"{site.url}/old") == b"odd"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, NotAvailableError) for code in (403, 404, 410, 418)),
        *((code, HostRefusedError) for code in (401, 407)),
        *((code, TransientError) for code in (408, 429, 500, 504)),
    ],
)
def test_statuses_are_told_apart(site, upstream, code, kind):
    site.always[PATH] = servers.status(code)
    with pytest.raises(kind) as caught:
        read(upstream(), site.url + PATH)
    assert isinstance(caught.value, FetchError)
    assert caught.value.got == f"HTTP {code}"


def test_an_unknown_host_and_a_silent_one(site):
    upstream = Upstream(timeouts=Timeouts(connect=1.0, read=0.2))
    with pytest.raises(TransientError, match="address cannot be found"):
        read(upstream, "http://no-such-host.invalid/x")
    site.always[PATH] = servers.slow(1.0, piece=3)
    with pytest.raises(TransientError, match="no answer in time"):
        read(upstream, site.url + PATH)
    upstream.close()


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/x",
        "oci://ghcr.io/x",
        "x",
        "http://",
        "http://a:b/",
        "http://[a/x",
        "http://a..b/x",
    ],
)
def test_other_places_are_refused(upstream, url):
    with pytest.raises(NotAvailableError, match="not a place"):
        read(upstream(), url)


def test_an_authority_of_ones_own(tmp_path, upstream):
    ca, context = authority(tmp_path)
    with servers.serving(servers.Site(files={PATH: b"archive"}), tls=context) as site:
        assert read(upstream({"REQUESTS_CA_BUNDLE": str(ca)}), site.url + PATH) == b"archive"
        assert read(upstream({"SSL_CERT_FILE": str(ca)}), site.url + PATH) == b"archive"
        home = tmp_path / "home"
        home.mkdir()
        (home / ".condarc").write_text("ssl_verify: $CORP/ca.pem\n")
        assert read(upstream({"CORP": str(tmp_path)}, home), site.url + PATH) == b"archive"


def test_an_unknown_authority_is_refused_whatever_conda_says(tmp_path, upstream):
    _, context = authority(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".condarc").write_text("ssl_verify: false\n")
    with servers.serving(servers.Site(files={PATH: b"archive"}), tls=context) as site:
        with pytest.raises(HostRefusedError, match="not trusted") as caught:
            read(upstream({}, home), site.url + PATH)
        assert "does not follow" in caught.value.hint
        assert "REQUESTS_CA_BUNDLE" in caught.value.hint
        assert not site.asked


def test_an_expected_host_name_is_checked(tmp_path, upstream):
    ca, context = authority(tmp_path, address="127.0.0.2")
    with (
        servers.serving(servers.Site(files={PATH: b"archive"}), tls=context) as site,
        pytest.raises(HostRefusedError, match="not trusted"),
    ):
        read(upstream({"SSL_CERT_FILE": str(ca)}), site.url + PATH)


def test_tls_to_a_server_without_it(site, upstream):
    with pytest.raises((HostRefusedError, TransientError)):
        read(upstream(), site.url.replace("http:", "https:") + PATH)


def test_a_file_of_certificates_that_is_none(tmp_path, upstream):
    (tmp_path / "ca.pem").write_text("not PEM")
    one = upstream({"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    with pytest.raises(UsageError, match="certificates"):
        read(one, "https://127.0.0.1:1/x")


@pytest.fixture
def proxy():
    with servers.serving(servers.Site(), handler=servers.ProxyHandler) as proxy:
        yield proxy


def test_http_by_a_proxy(site, proxy, upstream):
    one = upstream({"http_proxy": proxy.url.replace("//", "//pu:pp@")})
    proxy.etags["auth"] = basic("pu:pp")
    assert read(one, site.url + PATH) == b"archive"
    assert proxy.paths() == [site.url + PATH]
    assert "proxy-authorization" not in site.asked[0].headers
    assert "pp" in one.secrets()


def test_https_by_a_proxy(tmp_path, proxy, upstream):
    ca, context = authority(tmp_path)
    with servers.serving(servers.Site(files={PATH: b"archive"}), tls=context) as site:
        environ = {"https_proxy": proxy.url.removeprefix("http://"), "SSL_CERT_FILE": str(ca)}
        one = upstream(environ)
        assert read(one, site.url.replace("//", "//me:pw@") + PATH) == b"archive"
        assert read(one, site.url + PATH) == b"archive"
        assert len(proxy.asked) == 1
        assert proxy.asked[0].path.startswith("CONNECT 127.0.0.1:")
        assert "authorization" not in proxy.asked[0].headers
        assert "proxy-authorization" not in site.asked[0].headers
        one.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_credentials(site, proxy, upstream, scheme):
    proxy.etags["auth"] = basic("pu:pp")
    one = upstream({"all_proxy": proxy.url.replace("//", "//pu:wrong@")})
    with pytest.raises(HostRefusedError, match="proxy wants other credentials") as caught:
        read(one, f"{scheme}://127.0.0.1:1/x")
    assert proxy.url in caught.value.text()
    assert "wrong" not in caught.value.text()


def test_a_proxy_that_is_not_there(upstream):
    one = upstream({"HTTPS_PROXY": "http://127.0.0.1:9"})
    with pytest.raises(TransientError, match="nobody answers") as caught:
        read(one, "https://example.invalid/x")
    assert "the proxy is http://127.0.0.1:9" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["ftp://p:1", "quic://p:1", "https://", "http://:8", "http://p:x", "http://a..b:1"]
)
def test_a_proxy_of_another_kind(upstream, url):
    with pytest.raises(UsageError, match="proxy"):
        read(upstream({"HTTP_PROXY": url}), "http://example.invalid/x")


def test_a_socks_proxy_without_its_library(upstream, monkeypatch):
    def missing(*_args, **_options):
        raise InvalidSchema("Missing dependencies for SOCKS support.")

    monkeypatch.setattr("requests.adapters.SOCKSProxyManager", missing)
    with pytest.raises(UsageError, match="not installed") as caught:
        read(upstream({"HTTP_PROXY": "socks5://u:secret@p:1"}), "http://example.invalid/x")
    assert "repack[proxy]" in caught.value.hint
    assert "secret" not in caught.value.text()


def test_a_socks_proxy_that_wants_another_password(upstream):
    with socks.serving({}, ("me", "right")) as proxy:
        one = upstream({"ALL_PROXY": f"socks5h://me:wrong@127.0.0.1:{proxy.port}"})
        with pytest.raises(HostRefusedError, match="proxy wants other credentials") as caught:
            read(one, "http://example.invalid/x")
    assert "wrong" not in caught.value.text()


def test_a_socks_proxy_that_is_not_there(upstream):
    with pytest.raises(TransientError, match="nobody answers"):
        read(upstream({"ALL_PROXY": "socks5://127.0.0.1:9"}), "http://127.0.0.1:1/x")


def test_a_proxy_over_tls_is_checked_too(site, tmp_path, upstream):
    ca, context = authority(tmp_path, address="127.0.0.2")
    with servers.serving(servers.Site(), tls=context, handler=servers.ProxyHandler) as proxy:
        environ = {"ALL_PROXY": proxy.url, "SSL_CERT_FILE": str(ca)}
        with pytest.raises(HostRefusedError, match="not trusted"):
            read(upstream(environ), site.url + PATH)
    assert not site.asked


class Tickets:
    """Stands in for requests-kerberos, which needs a domain: a new token for each question."""

    def __init__(self):
        self.hosts = []
        self.exceptions = SimpleNamespace(KerberosExchangeError=LookupError)
        self.__spec__ = ModuleSpec("requests_kerberos", None)

    def HTTPKerberosAuth(self):  # noqa: N802
        return self

    def generate_request_header(self, response, host, *, is_preemptive):
        assert response is None
        assert is_preemptive
        self.hosts.append(host)
        return f"Negotiate ticket-{len(self.hosts)}"


class NegotiatingProxy(servers.ProxyHandler):
    """Takes each ticket once."""

    def _is_refused(self) -> bool:
        ticket = self.headers.get("Proxy-Authorization", "")
        taken = self.site.files
        if not ticket.startswith("Negotiate ticket-") or ticket in taken:
            return True
        taken[ticket] = b""
        return False


def test_a_proxy_that_wants_kerberos(site, tmp_path, upstream, monkeypatch):
    tickets = Tickets()
    monkeypatch.setitem(sys.modules, "requests_kerberos", tickets)
    ca, context = authority(tmp_path)
    with (
        servers.serving(servers.Site(), handler=NegotiatingProxy) as proxy,
        servers.serving(servers.Site(files={PATH: b"archive"}), tls=context) as safe,
    ):
        one = upstream({"ALL_PROXY": proxy.url, "SSL_CERT_FILE": str(ca)})
        assert read(one, site.url + PATH) == b"archive"
        assert read(one, site.url + PATH) == b"archive"
        assert read(one, safe.url + PATH) == b"archive"
        two = upstream({"ALL_PROXY": proxy.url, "SSL_CERT_FILE": str(ca)})
        assert read(two, safe.url + PATH) == b"archive"
        for request in (*site.asked, *safe.asked):
            assert "proxy-authorization" not in request.headers
    assert set(tickets.hosts) == {"127.0.0.1"}


def test_a_proxy_that_wants_kerberos_without_its_library(proxy, upstream):
    proxy.etags["auth"] = "Negotiate x"
    for scheme in ("http", "https"):
        with pytest.raises(HostRefusedError, match="proxy wants") as caught:
            read(upstream({"ALL_PROXY": proxy.url}), f"{scheme}://127.0.0.1:1/x")
        assert "repack[proxy]" in caught.value.hint


def test_no_proxy(site, proxy, upstream):
    one = upstream({"http_proxy": proxy.url, "no_proxy": "127.0.0.0/8"})
    assert read(one, site.url + PATH) == b"archive"
    assert not proxy.asked


@pytest.mark.parametrize("url", ["file://server/share/x", "file://[a/x", "file:///no/such"])
def test_files_that_cannot_be_read(upstream, url):
    with pytest.raises(NotAvailableError):
        read(upstream(), url)


def test_a_folder_is_no_file(upstream, tmp_path):
    with pytest.raises(FetchError, match="is a directory"):
        read(upstream(), f"file://{tmp_path}")


def test_mirrors_are_asked_instead(site, upstream, tmp_path):
    config = tmp_path / "home" / ".pixi" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[mirrors]\n"https://conda.example.org" = ["{site.url}"]\n')
    one = upstream()
    assert one.locations(f"https://conda.example.org{PATH}") == (site.url + PATH,)
    assert read(one, f"https://conda.example.org{PATH}") == b"archive"


def test_secrets_never_show_in_a_repr():
    network = Network(proxies={"http": "http://u:pw@p:1"})
    assert "pw" not in repr(network)


def test_patience_grows_and_ends():
    patience = RetryPolicy(tries=4, first=1.0, longest=10.0)
    pauses = [patience.pause(n, None) for n in range(1, 5)]
    assert 0.5 <= pauses[0] <= 1.5
    assert 2.0 <= pauses[2] <= 6.0
    assert pauses[3] is None
    assert patience.pause(1, 7.0) >= 7.0
    assert patience.pause(1, 11.0) is None
