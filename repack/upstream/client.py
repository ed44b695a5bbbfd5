"""Upstream: where package archives and repodata come from.

Rules of this module:

- A secret is shown to the origin it was meant for and to nobody else: a redirect that leaves the
  origin (scheme, host, port) leaves ``Authorization`` behind, and one from https to http is refused.
- No URL leaves in an error but redacted, and every secret that was at hand is known to
  :meth:`Upstream.secrets`.
- What went wrong is told apart by what helps, see :mod:`repack.upstream.errors`.

requests and urllib3 take 130 ms to import, so that happens with the first HTTP request: a build
that fetches nothing does without them.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urljoin

from msgspec import Struct
from msgspec.structs import replace

from repack.errors import FetchError
from repack.upstream.errors import (
    NotAvailableError,
    TransientError,
    from_status,
    translate_errors,
)
from repack.upstream.network import Network
from repack.upstream.response import SlownessLimit, file_response, http_response
from repack.upstream.route import Origin
from repack.urls import redact_url, remember_secrets, secrets_in_url
from repack.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import requests

    from repack.upstream.response import Response
    from repack.upstream.route import Route
    from repack.upstream.session import Session

T = TypeVar("T")

_MAX_REDIRECTS: Final = 10
_DRAIN_LIMIT: Final = 64 << 10
_REDIRECTS: Final = {301, 302, 303, 307, 308}


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

    def pause(self, failed: int, retry_after: float | None) -> float | None:
        """Seconds to wait after ``failed`` tries, None to give up."""
        if failed >= self.tries or (retry_after is not None and retry_after > self.longest):
            return None
        # Jitter, so that eight connections don't come back in step.
        grown = self.first * 2.0 ** (failed - 1) * random.uniform(0.5, 1.5)  # noqa: S311
        return max(retry_after or 0.0, min(grown, self.longest))


class Timeouts(Struct, frozen=True):
    """Seconds to wait for a connection, and for the next byte; and what is too slow.

    Attributes:
        slow_bytes: fewer than these in ``slow_seconds`` of waiting are a failed try: a server that
            sends a byte now and then would hold a build for ever.
    """

    connect: float = 10.0
    read: float = 30.0
    slow_seconds: float = 60.0
    slow_bytes: int = 64 << 10


class Upstream:
    """Reads URLs: ``https``, ``http`` and ``file``. For many threads at once.

    Args:
        network: proxies, certificates, mirrors, credentials.
        retry_policy: for whoever asks again.
        timeouts: of each connection.
        connections: how many files to ask for at once.
    """

    def __init__(
        self,
        network: Network | None = None,
        *,
        retry_policy: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        connections: int = 8,
    ) -> None:
        self.network = network or Network()
        self.retry_policy = retry_policy or RetryPolicy()
        self.connections = connections
        self._timeouts = timeouts or Timeouts()
        self._session: Session | None = None
        self._lock = threading.Lock()
        self._secrets: set[str] = set()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], home: Path) -> Upstream:
        """Settings as curl, conda and rattler find them on this machine.

        Raises:
            UsageError: a configuration file cannot be understood.
        """
        return cls(Network.from_environment(environ, home))

    def locations(self, url: str) -> tuple[str, ...]:
        """Where to ask for ``url``, in order; its secrets are known from now on."""
        locations = self.network.locations(url)
        for location in (url, *locations):
            self._secrets.update(secrets_in_url(location))
            if credential := self.network.credential(location, ask_keyring=False):
                self._secrets.update(credential.secrets)
                remember_secrets(credential.secrets)
        return locations

    def secrets(self) -> frozenset[str]:
        """Every secret that came with a URL asked for, or was at hand for its host or proxy."""
        proxies = (
            secret for url in self.network.proxies.values() for secret in secrets_in_url(url)
        )
        return frozenset(self._secrets.union(proxies))

    def first_of(self, url: str, take: Callable[[str], T]) -> T:
        """What ``take`` makes of the first location of ``url`` that has it, asked with patience.

        Raises:
            FetchError: no location has it; the last one's error.
        """
        error: FetchError | None = None
        for location in self.locations(url):
            for failed in range(1, self.retry_policy.tries + 1):
                try:
                    return take(location)
                except TransientError as transient:
                    error = transient
                    pause = self.retry_policy.pause(failed, transient.retry_after)
                    if pause is None:
                        break
                    time.sleep(pause)
                except FetchError as final:
                    error = final
                    break
        assert error is not None  # noqa: S101 - there is at least one location
        raise error

    def abort(self) -> None:
        """End every transfer at once; each of its readers gets a ``TransientError``."""
        if self._session:
            self._session.abort()

    def close(self) -> None:
        """Close idle connections."""
        if self._session:
            self._session.close()

    @contextlib.contextmanager
    def open(self, url: str, start: int = 0, validator: str | None = None) -> Iterator[Response]:
        """Ask for ``url``: from ``start`` on if its file still answers to ``validator``.

        The answer may begin at zero all the same. With a validator and no start, a file that still
        answers to it is not sent: the response ``is_unchanged``.

        Raises:
            TransientError: ask again later.
            NotAvailableError: this file cannot be had there.
            HostRefusedError: nothing can be had there.
            UsageError: this machine's certificates or proxy cannot be used.
        """
        if url[:5].lower() == "file:":
            yield from file_response(url)
            return
        route = self.network.route(url)
        headers = {"User-Agent": f"repack/{__version__}", "Accept": "*/*"}
        if route.credential:
            self._secrets.update(route.credential.secrets)
            remember_secrets(route.credential.secrets)
            if route.credential.header:
                headers["Authorization"] = route.credential.header
        headers |= _conditions(start, validator)
        yield from self._follow(route, headers)

    def _follow(self, route: Route, headers: dict[str, str]) -> Iterator[Response]:
        """Send the request, and again to where the server redirects to.

        requests could follow by itself, but keeps credentials from http to https, goes from https
        to http, and reads the body of a redirect whatever its size.
        """
        for _ in range(_MAX_REDIRECTS):
            with self._send(route, headers) as response:
                if response.status_code in {200, 206, 304}:
                    yield http_response(
                        response,
                        route,
                        SlownessLimit(self._timeouts.slow_seconds, self._timeouts.slow_bytes),
                    )
                    return
                with translate_errors(route):
                    # Read the rest of a short answer, so that the connection can be used again.
                    response.raw.read(_DRAIN_LIMIT)
            if response.status_code == 416 and "Range" in headers:
                # Less is there than we have: ask for all of it.
                headers = _without(headers, "Range", "If-Range")
                continue
            # Header bytes come as Latin-1; those that are not ASCII are UTF-8 (RFC 3987).
            target = response.headers.get("Location", "").encode("latin-1").decode(errors="replace")
            if response.status_code not in _REDIRECTS or not target:
                raise from_status(response.status_code, response.headers, route)
            previous, route = route, self.network.route_onward(urljoin(route.url, target))
            if Origin.of(route.url) == Origin.of(previous.url):
                route = replace(route, credential=previous.credential)
            else:
                headers = _without(headers, "Authorization")
            if previous.url.startswith("https:") and route.url.startswith("http:"):
                raise NotAvailableError(
                    "a redirect from https to http is not followed",
                    where=redact_url(previous.url),
                    got=redact_url(route.url),
                )
        raise NotAvailableError("redirected too often", where=redact_url(route.url))

    @contextlib.contextmanager
    def _send(self, route: Route, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        with self._lock:
            if self._session is None:
                from repack.upstream.session import Session

                self._session = Session(self.network, self.connections)
            session = self._session
        timeout = (self._timeouts.connect, self._timeouts.read)
        with translate_errors(route):
            response = session.get(route.url, headers, route.proxy, timeout)
        # A body that was read to its end has given its connection back to the pool; any other's
        # is closed here.
        with contextlib.closing(response):
            yield response


def _conditions(start: int, validator: str | None) -> dict[str, str]:
    """The headers that ask for a part, or only for something new (RFC 9110, sections 13 and 14)."""
    if not validator:
        return {}
    if start:
        return {"Range": f"bytes={start}-", "If-Range": validator}
    return {"If-None-Match" if validator.startswith('"') else "If-Modified-Since": validator}


def _without(headers: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}
