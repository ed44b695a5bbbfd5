"""Upstream: where package archives come from. The only door to HTTP.

Rules of this module:

- A secret is shown to the origin it was meant for and to nobody else: a redirect that leaves the
  origin (scheme, host, port) leaves ``Authorization`` behind.
- No URL leaves in an error but scrubbed, and every secret that was at hand is known to
  :meth:`Upstream.secrets`.
- What went wrong is told apart by what helps, see :mod:`repack.upstream.errors`.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from msgspec import Struct

from repack.upstream.connection import Origin, Pool, Timeouts
from repack.upstream.credentials import Credentials, basic
from repack.upstream.errors import NotAvailableError, Route
from repack.upstream.network import Network
from repack.upstream.response import answered, local
from repack.urls import redact_url, secrets_in_url
from repack.version import __version__

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repack.upstream.connection import PooledConnection, Proxy
    from repack.upstream.credentials import Credential
    from repack.upstream.response import Response

_HOPS: Final = 10
_DRAIN: Final = 64 << 10
_REDIRECTS: Final = {301, 302, 303, 307, 308}
_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"


class RetryPolicy(Struct, frozen=True):
    """How often to ask, and how long to wait between.

    Attributes:
        tries: in a row without getting on.
        first: seconds before the second try; doubled each time.
        longest: the longest pause; a server that wants more is given up.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 30.0

    def pause(self, failed: int, wanted: float | None) -> float | None:
        """Seconds to wait after ``failed`` tries, None to give up; ``wanted`` is Retry-After."""
        if failed >= self.tries or (wanted is not None and wanted > self.longest):
            return None
        # Jitter, so that eight connections don't come back in step.
        grown = self.first * 2.0 ** (failed - 1) * random.uniform(0.5, 1.5)  # noqa: S311
        return max(wanted or 0.0, min(grown, self.longest))


class Upstream:
    """Reads URLs: ``https``, ``http`` and ``file``. For many threads at once.

    Args:
        network: proxies, certificates, mirrors.
        credentials: who to be to which host.
        patience: for whoever asks again.
        timeouts: of each connection.
        connections: how many files to ask for at once.
    """

    def __init__(
        self,
        network: Network | None = None,
        credentials: Credentials | None = None,
        *,
        patience: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        connections: int = 8,
    ) -> None:
        self.patience = patience or RetryPolicy()
        self.connections = connections
        self._network = network or Network()
        self._credentials = credentials or Credentials()
        self._pool = Pool(self._network, timeouts or Timeouts())
        self._secrets: set[str] = set()

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str],
        home: Path,
        mirrors: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Upstream:
        """Settings as curl, conda and rattler find them on this machine.

        Args:
            environ: the environment.
            home: the user's folder.
            mirrors: more of them, before those of the configuration.

        Raises:
            UsageError: a configuration file cannot be understood.
        """
        network = Network.from_environment(environ, home)
        return cls(network.with_mirrors(mirrors or {}), Credentials.from_environment(environ, home))

    def places(self, url: str) -> tuple[str, ...]:
        """Where to ask for ``url``, in order; its secrets are known from now on."""
        places = self._network.places(url)
        for place in (url, *places):
            self._secrets.update(secrets_in_url(place))
            if access := self._access(place):
                self._secrets.update(access.secrets)
        return places

    def secrets(self) -> frozenset[str]:
        """Every secret that came with a URL asked for, or was at hand for its host or proxy."""
        proxies = (
            secret for url in self._network.proxies.values() for secret in secrets_in_url(url)
        )
        return frozenset(self._secrets.union(proxies))

    def _access(self, url: str) -> Credential | None:
        try:
            parts = urlsplit(url)
        except ValueError:
            return None  # whoever opens it hears of it
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            return None
        if parts.username is not None:
            return basic(unquote(parts.username), unquote(parts.password or ""), "the URL")
        return self._credentials.of(parts.hostname)

    def hang_up(self) -> None:
        """End every transfer at once; each of its readers gets a ``PassingError``."""
        self._pool.hang_up()

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()

    @contextlib.contextmanager
    def open(self, url: str, start: int = 0, validator: str | None = None) -> Iterator[Response]:
        """Ask for ``url``, from ``start`` on if its file still answers to ``validator``.

        The answer may begin at zero all the same.

        Raises:
            PassingError: ask again later.
            MissingError: this file cannot be had there.
            ClosedError: nothing can be had there.
            UsageError: this machine's certificates or proxy cannot be used.
        """
        if url[:5].lower() == "file:":
            yield from local(url)
            return
        _origin(url)
        access = self._access(url)
        headers = {"User-Agent": f"repack/{__version__}", "Accept": "*/*"}
        if access and access.header:
            headers["Authorization"] = access.header
        if start and validator:
            headers |= {"Range": f"bytes={start}-", "If-Range": validator}
        yield from self._follow(_shown(url, access), headers, access.source if access else None)

    def _follow(self, url: str, headers: dict[str, str], shown: str | None) -> Iterator[Response]:
        for _ in range(_HOPS):
            origin = _origin(url)
            proxy = self._pool.proxy(origin)
            route = Route(url, proxy.url if proxy else None, self._network.trusted, shown)
            with route.told(), self._ask(origin, url, headers) as (line, response):
                if response.status in {200, 206}:
                    yield answered(response, route)
                    if not response.isclosed():
                        line.http.close()
                    return
                _drain(response, line)
            if response.status == 416 and "Range" in headers:
                # Less is there than we have: ask for all of it.
                headers = _without(headers, "Range", "If-Range")
                continue
            # Header bytes come as Latin-1; those that are not ASCII are UTF-8 (RFC 3987).
            onward = (response.getheader("Location") or "").encode("latin-1")
            if response.status not in _REDIRECTS or not onward:
                raise route.verdict(response)
            url = urljoin(url, onward.decode(errors="replace"))
            if _origin(url) != origin:
                headers, shown = _without(headers, "Authorization"), None
        raise NotAvailableError("redirected too often", where=redact_url(url))

    @contextlib.contextmanager
    def _ask(
        self, origin: Origin, url: str, headers: Mapping[str, str]
    ) -> Iterator[tuple[PooledConnection, http.client.HTTPResponse]]:
        """Send a request; once more if a kept-alive connection turns out to be dead."""
        while True:
            with self._pool.line(origin) as line:
                # Through TLS the proxy was told where to when the tunnel was dug.
                relay = line.proxy if origin.scheme == "http" else None
                more = relay.headers if relay else {}
                try:
                    line.http.request("GET", _line_of(url, relay), headers={**headers, **more})
                    response = line.http.getresponse()
                except ConnectionError:
                    line.http.close()
                    if not line.used:
                        raise
                    continue
                except ValueError:
                    # Its message quotes the header, and the header is a secret.
                    raise NotAvailableError(
                        "the credentials hold characters that HTTP cannot carry",
                        where=redact_url(url),
                    ) from None
                yield line, response
                return


def _origin(url: str) -> Origin:
    try:
        return Origin.of(url)
    except ValueError:
        raise NotAvailableError(
            "not a place packages come from", where=redact_url(url), expected="https, http or file"
        ) from None


def _shown(url: str, access: Credential | None) -> str:
    """``url`` without user and fragment, with the token of the auth store, as it is asked for."""
    parts = urlsplit(url)
    token = f"/t/{access.token}" if access and access.token and "/t/" not in parts.path else ""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, token + parts.path, parts.query, ""))


def _line_of(url: str, relay: Proxy | None) -> str:
    """What stands in the request line: all of the URL for a proxy, else path and query."""
    parts = urlsplit(url)
    start = (parts.scheme, parts.netloc.rpartition("@")[2]) if relay else ("", "")
    path = quote(parts.path or "/", safe=_SAFE)
    return urlunsplit((*start, path, quote(parts.query, safe=_SAFE), ""))


def _without(headers: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


def _drain(response: http.client.HTTPResponse, line: PooledConnection) -> None:
    """Read the rest of a short answer, so that the connection can be used again."""
    response.read(_DRAIN)
    if not response.isclosed():
        line.http.close()
