"""The session of ``requests`` behind every transfer: TLS, proxies and the pool of connections.

The session reads nothing from the environment by itself (``trust_env`` is off): all settings come
from :class:`repack.upstream.network.Network`. Certificates are those of the operating system, by
truststore, or those of the CA file that is set; certifi's, which requests would add, are not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import ssl
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import requests
import truststore
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from repack.errors import UsageError
from repack.upstream.credentials import basic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3 import PoolManager

    from repack.upstream.network import Network

# An idle connection that the server has closed shows only when it is used: asked once more, unseen.
# Everything else is for the caller to repeat, who knows the mirrors and how far a file has come.
_RECONNECT = Retry(total=None, connect=0, read=1, redirect=0, status=0, other=0)


class _Adapter(HTTPAdapter):
    """Transport with TLS settings of our own, which can end all its transfers at once."""

    def __init__(self, tls: ssl.SSLContext, connections: int) -> None:
        self._tls = tls
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        # Hosts of proxies that want Negotiate.
        self.kerberos_hosts: set[str] = set()
        super().__init__(pool_maxsize=connections, max_retries=_RECONNECT)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **options)
        self._track(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        with self._lock:
            if proxy not in self.proxy_manager:
                options["ssl_context"] = self._tls
                if proxy.lower().startswith("https:"):
                    options["ssl_context"] = _tls_inside_tls(self._tls)
                    options["proxy_ssl_context"] = self._tls
                self._track(super().proxy_manager_for(proxy, **options))
            return self.proxy_manager[proxy]

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        # requests encodes as Latin-1, which has no letter for many a password.
        parts = urlsplit(proxy)
        if parts.username is None:
            return {}
        credential = basic(unquote(parts.username), unquote(parts.password or ""), "the proxy")
        return {"Proxy-Authorization": credential.header or ""}

    def cert_verify(self, conn: Any, *_: object) -> None:
        # requests' own adds certifi's roots to the context, whatever is in there.
        conn.cert_reqs = "CERT_REQUIRED"

    def _track(self, manager: PoolManager) -> None:
        """Remember each connection that the manager's pools open, for :meth:`abort`."""
        connections, kerberos_hosts = self._connections, self.kerberos_hosts
        pools: dict[str, type[Any]] = {}
        for scheme, pool in manager.pool_classes_by_scheme.items():

            class Connection(pool.ConnectionCls):  # type: ignore[name-defined,misc]
                def connect(self) -> None:
                    super().connect()
                    connections.add(self)

                def set_tunnel(
                    self, host: str, port: int | None, headers: Any = None, **options: Any
                ) -> None:
                    # A Negotiate token counts once, so every tunnel gets one of its own.
                    if self.host in kerberos_hosts:
                        headers = {**(headers or {}), **_kerberos_headers(self.host)}
                    super().set_tunnel(host, port, headers, **options)

            pools[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": Connection})
        manager.pool_classes_by_scheme = pools

    def abort(self) -> None:
        """End every connection: whoever reads from one gets an error at once."""
        for connection in list(self._connections):
            # Through a proxy over TLS, urllib3 puts an object of its own around the socket.
            sock = getattr(connection.sock, "socket", connection.sock)
            with contextlib.suppress(OSError, TypeError):
                # Not `SSLSocket.shutdown`, which takes TLS away from under a reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Session:
    """Sends requests; for many threads at once.

    Args:
        network: certificates to trust and to show.
        connections: how many are kept for each host.

    Raises:
        UsageError: the certificates set for this machine cannot be used.
    """

    def __init__(self, network: Network, connections: int) -> None:
        self._adapter = _Adapter(_tls_context(network), connections)
        self._session = requests.Session()
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)

    def get(
        self, url: str, headers: Mapping[str, str], proxy: str | None, timeout: tuple[float, float]
    ) -> requests.Response:
        """Send one GET request; neither a redirect nor a cookie is followed up.

        Args:
            timeout: seconds to wait for a connection, and for the next byte.

        Raises:
            requests.RequestException: no answer came.
        """
        try:
            response = self._send(url, headers, proxy, timeout)
            is_refused = response.status_code == 407
        except requests.exceptions.ProxyError as error:
            if not _may_use_kerberos(proxy) or "Tunnel connection failed: 407" not in str(error):
                raise
            is_refused = True
        if is_refused and proxy and _may_use_kerberos(proxy):
            # The proxy's own way to ask for more than a password (RFC 4559).
            self._adapter.kerberos_hosts.add(urlsplit(proxy).hostname or "")
            response = self._send(url, headers, proxy, timeout)
        return response

    def _send(
        self, url: str, headers: Mapping[str, str], proxy: str | None, timeout: tuple[float, float]
    ) -> requests.Response:
        headers = dict(headers)
        scheme, host = urlsplit(url).scheme, (proxy and urlsplit(proxy).hostname) or ""
        if scheme == "http" and host in self._adapter.kerberos_hosts:
            # Through a tunnel the server would see this header.
            headers |= _kerberos_headers(host)
        request = requests.Request("GET", url, headers=headers).prepare()
        return self._session.send(
            request,
            stream=True,
            timeout=timeout,
            proxies={scheme: proxy} if proxy else {},
            allow_redirects=False,
        )

    def abort(self) -> None:
        """End every transfer at once."""
        self._adapter.abort()

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()


def _tls_context(network: Network) -> ssl.SSLContext:
    ca = network.ca
    try:
        context: ssl.SSLContext = (
            truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if ca is None
            else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )
        if ca is not None:
            is_folder = ca.is_dir()
            context.load_verify_locations(
                cafile=None if is_folder else ca, capath=ca if is_folder else None
            )
        if network.client:
            # An empty password: OpenSSL must not ask for one at the terminal.
            context.load_cert_chain(*network.client, password="")
    except (OSError, ValueError) as error:
        raise UsageError(
            "the certificates set for this machine cannot be read",
            where=ca or (network.client and network.client[0]),
            expected="PEM, the key without a password",
            got=error,
            hint=f"trusted ones are set by {network.ca_source}, client ones by client_ssl_cert",
        ) from error
    return context


def _tls_inside_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    """What checks a server's certificate when a proxy over TLS carries the connection.

    truststore checks sockets only: where the system checks instead of OpenSSL (Windows, macOS) it
    takes any certificate inside another TLS connection. There OpenSSL checks, against the roots
    that Python finds in the system.
    """
    if sys.platform == "linux" or not isinstance(context, truststore.SSLContext):
        return context
    return ssl.create_default_context()


def _may_use_kerberos(proxy: str | None) -> bool:
    """Whether a proxy can be shown the user's Kerberos ticket: no password is set for it."""
    return bool(
        proxy and urlsplit(proxy).username is None and importlib.util.find_spec("requests_kerberos")
    )


def _kerberos_headers(host: str) -> dict[str, str]:
    import requests_kerberos

    try:
        kerberos = requests_kerberos.HTTPKerberosAuth()
        token = kerberos.generate_request_header(None, host, is_preemptive=True)
    except requests_kerberos.exceptions.KerberosExchangeError as error:
        raise requests.exceptions.ProxyError(f"no Kerberos ticket for the proxy: {error}") from None
    return {"Proxy-Authorization": token}
