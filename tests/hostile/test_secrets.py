"""Secrets of a build: to no other host, in no text, in no bundle, in no support bundle."""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import pytest

from repack.errors import FetchError
from repack.keys.keyring import Keyring
from repack.solve import solver
from repack.solve.upstream_repodata import UpstreamRepodata
from repack.support.redact import redact
from repack.upstream.client import RetryPolicy, Upstream
from repack.upstream.network import Network
from tests import servers
from tests.certificates import authority
from tests.world import World

TOKEN = "sq-77-bArd0"
SECRET = "hunter2-Zx81"


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SOME_TOKEN", TOKEN)
    return World(tmp_path, {"platforms": {"linux-64": {}}, "packages": ["tiny-data"]})


def site_of(world: World, prefix: str) -> servers.Site:
    files = {
        f"{prefix}/{path.relative_to(world.upstream).as_posix()}": path.read_bytes()
        for path in world.upstream.rglob("*")
        if path.is_file()
    }
    return servers.Site(files=files)


def redirected(site: servers.Site, to: str) -> servers.Site:
    """A server that sends everybody to the same path of another one."""
    # The files are there for HEAD, by which clients choose what to ask for.
    return servers.Site(
        files=site.files,
        always={path: servers.redirect(to + path.rpartition(TOKEN)[2]) for path in site.files},
    )


def text_of(request: servers.Request) -> str:
    return json.dumps([request.path, request.headers])


@pytest.mark.parametrize("way", ["/t/{}/ch", "/{}/ch"])
def test_a_token_in_the_url_reaches_no_other_host(world, way):
    with servers.serving(site_of(world, "/ch")) as other:
        inner = redirected(site_of(world, way.format(TOKEN)), other.url)
        with servers.serving(inner) as site:
            world.build(channels=[site.url + way.format("${SOME_TOKEN}")])
            assert any(TOKEN in request.path for request in site.asked)
        assert {request.path.rpartition("/")[2] for request in other.asked} >= {
            "repodata.json.zst",
            "tiny-data-1.0-0.conda",
        }
        assert not any(TOKEN in text_of(request) for request in other.asked)
        assert not any("referer" in request.headers for request in other.asked)


@pytest.mark.parametrize("kind", ["netrc", "CondaToken", "BearerToken"])
def test_a_stored_token_reaches_no_other_host(world, monkeypatch, kind):
    store = world.root / "auth"
    if kind == "netrc":
        store.write_text(f"machine localhost login me password {TOKEN}\n")
        monkeypatch.setenv("NETRC", str(store))
    else:
        store.write_text(json.dumps({"localhost": {kind: TOKEN}}))
        monkeypatch.setenv("RATTLER_AUTH_FILE", str(store))
    prefix = f"/t/{TOKEN}/ch" if kind == "CondaToken" else "/ch"
    with servers.serving(site_of(world, "/ch")) as other:
        inner = site_of(world, prefix)
        inner.always = {
            path: servers.redirect(other.url + path.removeprefix(f"/t/{TOKEN}"))
            for path in inner.files
        }
        with servers.serving(inner) as site:
            world.build(channels=[site.url.replace("127.0.0.1", "localhost") + "/ch"])
            assert any(TOKEN in text_of(r) or "authorization" in r.headers for r in site.asked)
        assert other.asked
        assert not any(TOKEN in text_of(request) for request in other.asked)
        assert not any({"authorization", "referer"} & set(r.headers) for r in other.asked)


@pytest.mark.parametrize("no_proxy", ["", "127.0.0.1"])
@pytest.mark.parametrize("client", ["rattler", "repack"])
def test_https_never_falls_to_http(world, monkeypatch, client, no_proxy):
    ca, context = authority(world.root)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    monkeypatch.setenv("NO_PROXY", no_proxy)
    network = Network() if client == "rattler" else Network(ca=ca)
    with servers.serving(site_of(world, "/ch")) as plain:
        inner = site_of(world, "/ch")
        inner.always = {path: servers.redirect(plain.url + path) for path in inner.files}
        with servers.serving(inner, tls=context) as site:
            upstream = Upstream(network, retry_policy=RetryPolicy(tries=1))
            request = next(iter(requests_of(world)))
            assert network.beyond_rattler(site.url + "/ch") == (
                None if client == "rattler" else "a CA file"
            )
            with pytest.raises(FetchError):
                solver.solve([site.url + "/ch"], request, UpstreamRepodata(world.store, upstream))
            assert site.asked
        assert not plain.asked
        # The same way without the redirect: what was refused above is the redirect.
        inner.always = {}
        with servers.serving(inner, tls=context) as site:
            upstream = Upstream(network)
            records = solver.solve(
                [site.url + "/ch"], request, UpstreamRepodata(world.store, upstream)
            )
            assert [record.name for record in records] == ["tiny-data"]


def requests_of(world: World):
    from repack.conda.match_spec import spec_fault
    from repack.label import files
    from repack.solve.resolve import read_label_request

    world.write()
    label = files.load(world.labels / "bank.yaml", {}, spec_fault)
    return read_label_request(label).requests


@pytest.mark.parametrize("fault", ["gone", "damaged", "refused", "unsolvable"])
def test_a_token_that_looks_like_a_folder_stands_in_no_text(world, fault):
    """``http://host/${TOKEN}/channel``: no rule of URLs says that this is a secret."""
    inner = site_of(world, f"/{TOKEN}/ch")
    if fault == "gone":
        inner.files = {}
    elif fault == "damaged":
        inner.files = dict.fromkeys(inner.files, b"{")
    elif fault == "refused":
        inner.always = {path: servers.status(403) for path in inner.files}
    packages = ["tiny-data"] if fault != "unsolvable" else ["tiny-data >=9"]
    with servers.serving(inner) as site:
        world.write(channels=[f"{site.url}/${{SOME_TOKEN}}/ch"], packages=packages)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = world.repack("label", "bank", "--json")
        assert code in {4, 5, 6}
    assert json.loads(out.getvalue())["error"]
    failure = world.channels / ".history" / "bank" / "last-failure.json"
    assert failure.is_file()
    for text in (out.getvalue(), err.getvalue(), failure.read_text()):
        assert TOKEN not in text
        assert "Traceback" not in text


def test_a_token_that_looks_like_a_folder_stands_in_no_file(world):
    with servers.serving(site_of(world, f"/{TOKEN}/ch")) as site:
        world.build(channels=[f"{site.url}/${{SOME_TOKEN}}/ch"])
        assert not world.build()["changed"]
        # The lock alone gives the whole URL back.
        shutil.rmtree(world.store)
        shutil.rmtree(world.channels)
        asked = len(site.asked)
        assert world.build()["changed"]
        assert all(TOKEN in request.path for request in site.asked[asked:])
    for path in [*world.channels.rglob("*"), *world.labels.glob("*.lock")]:
        assert TOKEN not in path.name
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


PEM = "-----BEGIN {}-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END {}-----\n"
KEYS = {
    "update.txt": PEM.format("PRIVATE KEY", "PRIVATE KEY"),
    "sub/deep.dat": "# comment\n" + PEM.format("ENCRYPTED PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
    "id": PEM.format("OPENSSH PRIVATE KEY", "OPENSSH PRIVATE KEY"),
    "gpg.asc": PEM.format("PGP PRIVATE KEY BLOCK", "PGP PRIVATE KEY BLOCK"),
    "putty": "PuTTY-User-Key-File-3: ssh-ed25519\n",
    "age": "# created\nAGE-SECRET-KEY-1QQQ\n",
    "jwk.json": '{"kty": "OKP", "crv": "Ed25519", "d": "nWGx", "x": "11qY"}',
    "store.P12": "binary",
    "hmac.key": "AAAA",
}


@pytest.mark.parametrize("name", KEYS)
def test_a_bundle_with_a_private_key_is_refused(world, name):
    folder = world.root / "dä ta"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"model")
    bundle = {"m": {"path": str(folder), "version": "1"}}
    world.build(bundles=bundle)
    (folder / name).write_text(KEYS[name])
    message = world.fail(6)
    assert name in message
    assert "private key" in message


def test_a_text_about_keys_is_no_key(world):
    folder = world.root / "data"
    folder.mkdir()
    (folder / "readme.md").write_text("A key begins with `-----BEGIN PRIVATE KEY-----`.\n")
    (folder / "public.pem").write_text(PEM.format("PUBLIC KEY", "PUBLIC KEY"))
    (folder / "jwk.json").write_text('{"kty": "OKP", "crv": "Ed25519", "x": "11qY"}')
    world.build(bundles={"m": {"path": str(folder), "version": "1"}})


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_of_keys_is_no_bundle(world, inside, capsys):
    folder = world.root / "renamed"
    ring = folder / "old" if inside else folder
    Keyring.open_or_create(ring, {})
    for private in [*ring.glob("*.pem"), ring / "hmac.key"]:
        private.unlink()
    message = world.fail(6, bundles={"m": {"path": str(folder), "version": "1"}})
    assert "is a folder of keys" in message


@pytest.mark.parametrize(
    "line",
    [
        f"curl -u user:{SECRET} https://conda.example.org/x",
        f"curl -uuser:{SECRET} https://conda.example.org/x",
        f'curl --user "user:{SECRET}" https://conda.example.org/x',
        f"wget --proxy-user=user:{SECRET} https://conda.example.org/x",
        'password = "two words, and; more & ' + SECRET + '"',
        f"{{'token': 'a b {SECRET}'}}",
    ],
)
def test_support_bundles_drop_what_follows(line):
    assert SECRET not in redact(line)
    assert "two words" not in redact(line)


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "11ABCDEFG0" * 4,
        "glpat-" + "x-Y_9" * 4,
        "npm_" + "a1B2" * 9,
        "pypi-AgEIcHlwaS5vcmc" + "a1B2" * 9,
        "xoxb-123456789012-" + "abcd" * 4,
        "AKIAIOSFODNN7EXAMPLE",
        "an-01234567-89ab-cdef-0123-456789abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ],
)
def test_support_bundles_drop_tokens_by_their_form(token):
    for line in (token, f"got {token} from", f'"{token}"', f"a={token}&b", f"x:{token},"):
        assert token[8:] not in redact(line), line


def test_what_looks_like_a_token_stays():
    line = "eyJ is how JSON begins; ghp_short; build py-01234567; sha256 " + "ab" * 32
    assert redact(line) == line
