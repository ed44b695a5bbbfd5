"""The way of one request: where to, through which proxy, shown as whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import urlsplit

from msgspec import Struct

from repack.errors import UsageError
from repack.structs import Value
from repack.upstream.errors import NotAvailableError
from repack.urls import redact_url

if TYPE_CHECKING:
    from repack.upstream.credentials import Credential

PORTS: Final = {"http": 80, "https": 443}
_PROXY_SCHEMES: Final = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"}


class Origin(Struct, frozen=True):
    """Scheme, host and port: who is shown a credential (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an ``http`` or ``https`` URL.

        Raises:
            NotAvailableError: it is none, or has no host.
        """
        try:
            parts = urlsplit(url)
            scheme = parts.scheme.lower()
            if scheme in PORTS and parts.hostname:
                parts.hostname.encode("idna")  # as the look-up will
                return cls(scheme, parts.hostname, parts.port or PORTS[scheme])
        except ValueError:
            pass
        raise NotAvailableError(
            "not a place packages come from", where=redact_url(url), expected="https, http or file"
        )


class Route(Value, frozen=True):
    """The way of one request.

    Attributes:
        url: what is asked for, without user, with the token of the credential.
        proxy: through which proxy, its credentials included.
        trusted: which certificates are trusted, in words.
        credential: what is shown to the server.
    """

    hidden_fields: ClassVar = ("url", "proxy")

    url: str
    proxy: str | None
    trusted: str
    credential: Credential | None = None

    def hint(self, hint: str | None = None) -> str | None:
        """``hint`` of an error, with the proxy that may be to blame."""
        proxy = self.proxy and f"the proxy is {redact_url(self.proxy)}"
        return "; ".join(filter(None, [hint, proxy])) or None


def normal_proxy_url(url: str) -> str:
    """A proxy's URL with its scheme; a bare ``host:port`` speaks HTTP.

    Raises:
        UsageError: the proxy speaks something else.
    """
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        is_complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_complete = False
    if not is_complete or parts.scheme.lower() not in _PROXY_SCHEMES:
        raise UsageError(
            "this kind of proxy is not supported",
            where=redact_url(url),
            expected="http, https, socks5 or socks5h://[user:password@]host:port",
        )
    return url
