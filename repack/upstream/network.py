"""How this machine reaches others: proxies, certificates, mirrors, credentials.

Read once, from the environment first, as requests and curl do, then from conda's configuration,
then from the one that rattler's tools share: what works for them on a machine works for repack. The
same settings serve both of repack's HTTP clients, its own for archives and rattler's for repodata;
where rattler's cannot do what is set (see :meth:`Network.beyond_rattler`), repack's own fetches the
repodata as well.

Certificates are always verified. ``ssl_verify: false`` is not followed; the error that comes of it
says so.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec import field

from repack.errors import UsageError
from repack.structs import Value
from repack.upstream.configuration import CondaSettings, RattlerSettings
from repack.upstream.credentials import Credential, Credentials, basic
from repack.upstream.route import PORTS, Origin, Route, normal_proxy_url
from repack.urls import secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Mapping

_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_OFF: Final = {"false", "no", "off", "0"}
_ON: Final = {"true", "yes", "on", "1", "truststore", ""}


class Network(Value, frozen=True):
    """The settings that decide how a URL is reached.

    Attributes:
        proxies: by scheme (``https``, ``all``) or origin (``https://host``).
        no_proxy: hosts, domains, address ranges that are reached directly; ``*`` for all.
        ca: a file or folder of certificates to trust; None for the system's.
        ca_source: where ``ca`` was set, for messages.
        client: certificate and, when it is a file of its own, key to show to servers.
        mirrors: URL prefix to the prefixes that are asked instead of it, in order.
        credentials: who to be to which host.
        sources: where each proxy and mirror was set, by its key.
    """

    hidden_fields: ClassVar = ("proxies", "mirrors", "sources")

    proxies: Mapping[str, str] = field(default_factory=dict)
    no_proxy: tuple[str, ...] = ()
    ca: Path | None = None
    ca_source: str = "the system"
    client: tuple[Path, Path | None] | None = None
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    credentials: Credentials = field(default_factory=Credentials)
    sources: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], home: Path) -> Network:
        """Read the environment, conda's and rattler's configuration.

        Raises:
            UsageError: a configuration file cannot be understood, or the CA file is not there.
        """
        conda, rattler = CondaSettings.read(environ, home), RattlerSettings.read(environ, home)
        ca, ca_source = _ca(environ, conda)
        if ca is None and rattler.unverified:
            ca_source = _not_followed(f"tls-no-verify in {rattler.unverified}", "true")
        certificate, key = (conda.path(f"client_ssl_cert{end}") for end in ("", "_key"))
        from_environ, from_conda = _proxies(environ), conda.proxies()
        return cls(
            proxies={**rattler.proxies, **from_conda, **from_environ},
            no_proxy=(*_no_proxy(environ), *rattler.no_proxy),
            ca=ca,
            ca_source=ca_source,
            client=(certificate, key) if certificate else None,
            mirrors={prefix: urls for prefix, urls in rattler.mirrors.items() if urls},
            credentials=Credentials.from_environment(environ, home, rattler.auth_file),
            sources={
                **rattler.sources,
                **dict.fromkeys(from_conda, conda.sources.get("proxy_servers", "")),
                **{scheme: f"{scheme.upper()}_PROXY" for scheme in from_environ},
            },
        )

    @property
    def trusted(self) -> str:
        """Which certificates are trusted, in words."""
        return f"{self.ca} (set by {self.ca_source})" if self.ca else f"those of {self.ca_source}"

    def proxy(self, scheme: str, host: str, port: int) -> str | None:
        """The proxy to reach a host by, or None to reach it directly."""
        key = self.proxy_key(scheme, host, port)
        return self.proxies[key] if key else None

    def proxy_key(self, scheme: str, host: str, port: int) -> str | None:
        """The key in ``proxies`` of the proxy for a host, None to reach it directly."""
        if any(_covers(rule, host.lower(), port) for rule in self.no_proxy):
            return None
        keys = (f"{scheme}://{host}", scheme, f"all://{host}", "all")
        return next((key for key in keys if self.proxies.get(key)), None)

    def mirrored_prefix(self, url: str) -> str | None:
        """The longest prefix of ``url`` that has mirrors, if any."""
        for prefix in sorted(self.mirrors, key=len, reverse=True):
            if (url + "/").startswith(prefix.rstrip("/") + "/"):
                return prefix
        return None

    def locations(self, url: str) -> tuple[str, ...]:
        """Where ``url`` is to be asked for: itself, or its mirrors.

        As with pixi, a mirrored prefix is itself asked only when its own list names it.
        """
        prefix = self.mirrored_prefix(url)
        if prefix is None:
            return (url,)
        path = url[len(prefix.rstrip("/")) :]
        return tuple(mirror.rstrip("/") + path for mirror in self.mirrors[prefix])

    def credential(self, url: str, *, ask_keyring: bool = True) -> Credential | None:
        """What to show the host of ``url``: its own user and password, else what is stored."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return None  # whoever opens it hears of it
        if parts.scheme not in PORTS or not parts.hostname:
            return None
        if parts.username is not None:
            return basic(unquote(parts.username), unquote(parts.password or ""), "the URL")
        return self.credentials.of(parts.hostname, ask_keyring=ask_keyring)

    def route(self, url: str) -> Route:
        """How to ask for ``url``.

        Raises:
            NotAvailableError: it is no HTTP URL.
            UsageError: the proxy is of a kind that does not exist.
        """
        route, credential = self.route_onward(url), self.credential(url)
        parts = urlsplit(route.url)
        token = credential.token if credential and "/t/" not in parts.path else None
        path = f"/t/{token}{parts.path}" if token else parts.path
        url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        return Route(url, route.proxy, route.trusted, credential)

    def route_onward(self, url: str) -> Route:
        """How to ask for ``url`` without any credential: where a redirect leads.

        Raises:
            NotAvailableError: it is no HTTP URL.
            UsageError: the proxy is of a kind that does not exist.
        """
        origin = Origin.of(url)
        proxy = self.proxy(origin.scheme, origin.host, origin.port)
        parts = urlsplit(url)
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        return Route(bare, normal_proxy_url(proxy) if proxy else None, self.trusted)

    def beyond_rattler(self, url: str) -> str | None:
        """What rattler's client cannot do on the way to ``url``, in words; None: it can do all.

        Raises:
            NotAvailableError: it is no HTTP URL.
            UsageError: the proxy is of a kind that does not exist.
        """
        route = self.route(url)
        proxy, credential = route.proxy or "", route.credential
        limits = {
            "a mirror": self.mirrored_prefix(url) is not None,
            "a CA file": self.ca is not None,
            "a client certificate": self.client is not None,
            "stored credentials": bool(credential and credential.source != "the URL"),
            "a proxy over TLS or SOCKS": bool(proxy) and not proxy.lower().startswith("http:"),
            "a proxy for one host": bool(proxy)
            and proxy != self.scheme_proxy(Origin.of(url).scheme),
            # Its redirects carry the whole URL in Referer, to whatever host they lead.
            "a secret in the URL": bool(secrets_in_url(url)),
        }
        return next((words for words, is_set in limits.items() if is_set), None)

    def scheme_proxy(self, scheme: str) -> str | None:
        """The proxy for every host of a scheme, whatever ``no_proxy`` says."""
        proxy = self.proxies.get(scheme) or self.proxies.get("all")
        return normal_proxy_url(proxy) if proxy else None


def _covers(rule: str, host: str, port: int) -> bool:
    """Whether one entry of NO_PROXY is about ``host``, by curl's and requests' rules."""
    if rule == "*":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name, _, wanted_port = rule.partition(":")
        name = name.removeprefix("*").lstrip(".")
        return wanted_port in {"", str(port)} and (host == name or host.endswith("." + name))
    try:
        return address in ipaddress.ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        return rule == f"{host}:{port}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.lower()) or environ.get(name) or ""


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    proxies = {
        scheme: value
        for scheme in ("http", "https", "all")
        # A CGI program must not take a header `Proxy:` for a proxy (CVE-2016-1000110).
        if not (scheme == "http" and "REQUEST_METHOD" in environ)
        and (value := _variable(environ, f"{scheme.upper()}_PROXY"))
    }
    if not proxies and sys.platform == "win32":
        from urllib.request import getproxies_registry

        proxies = {k: v for k, v in getproxies_registry().items() if k in {"http", "https"}}
    return proxies


def _no_proxy(environ: Mapping[str, str]) -> tuple[str, ...]:
    entries = re.split(r"[,\s]+", _variable(environ, "NO_PROXY").lower())
    return tuple(entry for entry in entries if entry)


def _ca(environ: Mapping[str, str], conda: CondaSettings) -> tuple[Path | None, str]:
    for name in _CA_VARIABLES:
        if value := environ.get(name):
            if name == "SSL_CERT_DIR" and not Path(value).is_dir():
                continue  # a list of folders: OpenSSL reads it by itself
            return _existing(Path(value), name), name
    source = conda.sources.get("ssl_verify", "")
    value = str(conda.values.get("ssl_verify", ""))
    if value.lower() in _OFF:
        return None, _not_followed(source, value)
    if value.lower() in _ON:
        return None, "the system"
    return _existing(Path(value).expanduser(), source), source


def _not_followed(source: str, value: str) -> str:
    return f"the system ({source} is {value}, which repack does not follow)"


def _existing(path: Path, source: str) -> Path:
    if not path.exists():
        raise UsageError(
            "the file of trusted certificates is not there",
            where=path,
            hint=f"it is named by {source}; correct or unset that",
        )
    return path
