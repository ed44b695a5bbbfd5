"""How this machine would reach a channel: what `repack doctor --network URL` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from repack.upstream.route import Origin
from repack.urls import redact_text, redact_url, secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repack.upstream.network import Network


class ChannelRoute(Struct, frozen=True):
    """How one location of a channel is reached; no field holds a secret.

    Attributes:
        channel: the URL that was asked about.
        location: where it is asked for: itself, or a mirror.
        mirror_set_by: the file that says so.
        certificates: which are trusted.
        client_certificate: the file of the one that is shown.
        proxy: None: the server is reached directly.
        proxy_set_by: the variable or file that says so.
        credentials: where those come from that are shown.
        repodata: which client fetches it, and why not rattler's.
    """

    channel: str
    location: str
    mirror_set_by: str | None
    certificates: str | None
    client_certificate: str | None
    proxy: str | None
    proxy_set_by: str | None
    credentials: str | None
    repodata: str

    def to_json(self) -> Mapping[str, str | None]:
        """The row of ``repack doctor --network URL --json``."""
        fields: dict[str, str | None] = msgspec.to_builtins(self)
        return fields

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield self.location
        mirror = f"{self.channel} (mirror set by {self.mirror_set_by})"
        rows = {
            "in place of": mirror if self.mirror_set_by else None,
            "certificates": self.certificates,
            "client certificate": self.client_certificate or "none",
            "proxy": f"{self.proxy} (set by {self.proxy_set_by})" if self.proxy else "none",
            "credentials": self.credentials or "none",
            "repodata": self.repodata,
        }
        yield from (f"  {name:<20}{text}" for name, text in rows.items() if text)


def find_routes(url: str, network: Network) -> Iterator[ChannelRoute]:
    """How each location of the channel at ``url`` is reached, in the order they are asked.

    Raises:
        NotAvailableError: the URL is none that packages come from.
        UsageError: the proxy is of a kind that does not exist.
    """
    prefix = network.mirrored_prefix(url)
    limit = _limit(url, network)
    for location in network.locations(url):
        is_file = location[:5].lower() == "file:"
        origin = None if is_file else Origin.of(location)
        key = network.proxy_key(origin.scheme, origin.host, origin.port) if origin else None
        route = network.route(location) if origin else None
        yield ChannelRoute(
            channel=redact_url(url),
            # A mirror in a folder may repeat the token, where it looks like a folder's name.
            location=redact_text(redact_url(location), secrets_in_url(url)),
            mirror_set_by=None if prefix is None else network.sources.get(prefix, "a setting"),
            certificates=network.trusted if origin and origin.scheme == "https" else None,
            client_certificate=_path_text(network.client and network.client[0]),
            proxy=redact_url(route.proxy) if route and route.proxy else None,
            proxy_set_by=network.sources.get(key, "a setting") if key else None,
            credentials=route.credential.source if route and route.credential else None,
            repodata=f"by repack, as rattler's client cannot use {limit}"
            if limit
            else "by rattler",
        )


def _limit(url: str, network: Network) -> str | None:
    return None if url[:5].lower() == "file:" else network.beyond_rattler(url)


def _path_text(path: Path | None) -> str | None:
    return str(path) if path else None
