"""How this machine reaches others, from the environment and from conda's and rattler's files."""

from __future__ import annotations

import pytest

from repack.errors import UsageError
from repack.upstream.network import Network


@pytest.fixture
def network(tmp_path):
    """Settings of a home folder with the files given, by relative path."""

    def make(environ=None, **texts) -> Network:
        for name, text in texts.items():
            path = tmp_path / FILES[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Network.from_environment(environ or {}, tmp_path)

    return make


FILES = {
    "condarc": ".condarc",
    "older": ".config/conda/condarc",
    "piece": ".conda/condarc.d/net.yaml",
    "pixi": ".pixi/config.toml",
    "rattler": ".config/rattler/config.toml",
}


def test_nothing_set(network):
    plain = network()
    assert plain.proxy("https", "example.org", 443) is None
    assert (plain.ca, plain.client, plain.mirrors) == (None, None, {})
    assert plain.locations("https://a/b") == ("https://a/b",)


def test_proxies_of_the_environment(network):
    environ = {"http_proxy": "http://low", "HTTP_PROXY": "http://up", "ALL_PROXY": "http://all"}
    found = network(environ)
    assert found.proxy("http", "a", 80) == "http://low"
    assert found.proxy("https", "a", 443) == "http://all"


def test_a_header_is_no_proxy(network):
    assert network({"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}).proxies == {}


def test_the_environment_goes_before_conda(network):
    condarc = "proxy_servers:\n  http: http://c1\n  https: http://c2\n  https://one: http://c3\n"
    found = network({"https_proxy": "http://e"}, condarc=condarc)
    assert found.proxy("http", "a", 80) == "http://c1"
    assert found.proxy("https", "a", 443) == "http://e"
    assert found.proxy("https", "one", 443) == "http://c3"


def test_condas_files_are_merged_and_filled_in(network):
    found = network(
        {"PW": "s3cret"},
        older="proxy_servers: {http: http://old, https: http://old}\nssl_verify: false\n",
        piece="proxy_servers: {https: 'http://u:${PW}@new'}\n",
        condarc="ssl_verify: truststore\nchannels: [x]\n",
    )
    assert found.proxies == {"http": "http://old", "https": "http://u:s3cret@new"}
    assert (found.ca, found.ca_source) == (None, "the system")


def test_condarc_of_the_environment_comes_last(network, tmp_path):
    (tmp_path / "other.yml").write_text("proxy_servers: {http: http://named}\n")
    environ = {"CONDARC": str(tmp_path / "other.yml"), "CONDA_PREFIX": str(tmp_path / "env")}
    assert network(environ, condarc="proxy_servers: {http: http://home}\n").proxies == {
        "http": "http://named"
    }


@pytest.mark.parametrize(
    ("rule", "host", "direct"),
    [
        ("example.org", "example.org", True),
        ("example.org", "a.example.org", True),
        (".example.org", "a.example.org", True),
        ("*.example.org", "a.example.org", True),
        ("example.org", "notexample.org", False),
        ("example.org:443", "example.org", True),
        ("example.org:80", "example.org", False),
        ("x, EXAMPLE.ORG", "Example.org", True),
        ("*", "anything", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("::1", "::1", True),
        ("example.org", "10.1.2.3", False),
    ],
)
def test_no_proxy(network, rule, host, direct):
    found = network({"https_proxy": "http://p", "NO_PROXY": rule})
    assert found.proxy("https", host, 443) == (None if direct else "http://p")


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_of_the_environment(network, tmp_path, name):
    (tmp_path / "ca.pem").write_text("x")
    found = network({name: str(tmp_path / "ca.pem")}, condarc="ssl_verify: /elsewhere\n")
    assert (found.ca, found.ca_source) == (tmp_path / "ca.pem", name)


def test_certificates_of_conda(network, tmp_path):
    (tmp_path / "ca.pem").write_text("x")
    condarc = f"ssl_verify: {tmp_path / 'ca.pem'}\nclient_ssl_cert: /c.pem\n"
    found = network(condarc=condarc + "client_ssl_cert_key: /k.pem\n")
    assert found.ca == tmp_path / "ca.pem"
    assert ".condarc" in found.ca_source
    assert list(map(str, found.client)) == ["/c.pem", "/k.pem"]
    assert network({"CONDA_SSL_VERIFY": "no"}).trusted.endswith("which repack does not follow)")


def test_certificates_that_are_not_there(network):
    with pytest.raises(UsageError) as caught:
        network({"REQUESTS_CA_BUNDLE": "/no/such/ca.pem"})
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint


def test_a_list_of_certificate_folders_is_left_to_openssl(network, tmp_path):
    assert network({"SSL_CERT_DIR": "/a:/b"}).ca is None
    assert network({"SSL_CERT_DIR": str(tmp_path)}).ca == tmp_path


@pytest.mark.parametrize("text", ["proxy_servers: {http: 'hunter2\n", "ssl_verify: \xff: [\n"])
def test_a_broken_condarc_is_named_and_not_quoted(network, text):
    with pytest.raises(UsageError, match="not valid YAML") as caught:
        network(condarc=text)
    assert "hunter2" not in caught.value.text()


def test_a_condarc_of_another_shape_says_nothing(network):
    assert network(condarc="- ssl_verify\n- proxy_servers\n").proxies == {}
    assert network(condarc="proxy_servers: direct\n").proxies == {}


def test_mirrors(network):
    found = network(
        rattler='[mirrors]\n"https://a/" = ["https://old"]\n',
        pixi='[mirrors]\n"https://a" = ["https://m1/x/", "oci://ghcr.io/x", "file:///m2"]\n'
        '"https://a/special" = ["https://m3"]\n"https://s3" = ["s3://only"]\n',
    )
    assert found.locations("https://a/noarch/x.conda") == (
        "https://m1/x/noarch/x.conda",
        "file:///m2/noarch/x.conda",
    )
    assert found.locations("https://a/special/x.conda") == ("https://m3/x.conda",)
    assert found.locations("https://ab/x.conda") == ("https://ab/x.conda",)
    assert found.locations("https://s3/x.conda") == ("https://s3/x.conda",)


@pytest.mark.parametrize("text", ["[mirrors", 'mirrors = ["x"]', "[mirrors]\na = 1\n"])
def test_a_broken_configuration_of_mirrors(network, text):
    with pytest.raises(UsageError, match="mirrors"):
        network(pixi=text)
