"""What can go wrong between here and a server, told apart by what helps."""

from __future__ import annotations

import contextlib
import email.utils
import socket
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.errors import FetchError
from repack.urls import redact_text, redact_url

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator

_PASSING: Final = {408, 425, 429}
_TEXT_LIMIT: Final = 200


class TransientError(FetchError):
    """It may work later; ``retry_after`` is how many seconds the server wants to be left alone."""

    retry_after: float | None = None


class NotAvailableError(FetchError):
    """This file cannot be had from there; others may."""


class HostRefusedError(FetchError):
    """Nothing can be had from there until somebody corrects a setting."""


class Route(Struct, frozen=True):
    """One request's way, for messages.

    Attributes:
        url: where to; scrubbed here, not by whoever makes it.
        proxy: through which proxy, scrubbed already.
        ca: which certificates are trusted.
        shown: where the credentials came from that were shown, if any.
    """

    url: str
    proxy: str | None
    ca: str
    shown: str | None

    def _hint(self, hint: str | None = None) -> str | None:
        return "; ".join(filter(None, [hint, self.proxy and f"the proxy is {self.proxy}"])) or None

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turn what sockets, TLS and ``http.client`` raise into one of the errors above.

        Raises:
            PassingError: the connection could not be made, or broke.
            ClosedError: TLS or the proxy refuses.
        """
        import http.client
        import ssl

        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise HostRefusedError(
                "the server's certificate is not trusted",
                where=redact_url(self.url),
                got=error.verify_message,
                hint=self._hint(
                    f"trusted is {self.ca}; where a proxy inspects TLS, "
                    "name its CA file by REQUESTS_CA_BUNDLE or conda's ssl_verify"
                ),
            ) from error
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise self._broken(error) from error
        except ssl.SSLError as error:
            raise HostRefusedError(
                "no agreement on TLS",
                where=redact_url(self.url),
                got=_text(error),
                hint=self._hint(),
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> FetchError:
        text = _text(error)
        if text.startswith("Tunnel connection failed: 4"):
            wants = "407" in text
            what = "the proxy wants other credentials" if wants else "the proxy refuses the way"
            return HostRefusedError(what, where=redact_url(self.url), got=text, hint=self._hint())
        if isinstance(error, TimeoutError):
            what = "no answer in time"
        elif isinstance(error, socket.gaierror):
            what = "the host's address cannot be found"
        elif isinstance(error, ConnectionRefusedError):
            what = "nobody answers there"
        else:
            what = "the connection broke"
        return TransientError(what, where=redact_url(self.url), got=text, hint=self._hint())

    def verdict(self, response: http.client.HTTPResponse) -> FetchError:
        """The error that an answer other than "here it is" stands for."""
        status, where = response.status, redact_url(self.url)
        got = f"HTTP {status}"
        if status == 401:
            return HostRefusedError(
                f"the server does not accept the credentials of {self.shown}"
                if self.shown
                else "the server wants credentials",
                where=where,
                got=got,
                hint="they come from the URL (/t/TOKEN/ or user:password@), RATTLER_AUTH_FILE, "
                "~/.rattler/credentials.json or .netrc",
            )
        if status == 407:
            return HostRefusedError(
                "the proxy wants other credentials", where=where, got=got, hint=self._hint()
            )
        if status in _PASSING or status >= 500:
            fault = TransientError(
                "the server is overloaded or out of order", where=where, got=got, hint=self._hint()
            )
            fault.retry_after = _seconds(response)
            return fault
        what = {403: "the server does not give it out", 404: "not there", 410: "not there any more"}
        return NotAvailableError(
            what.get(status, "an answer that makes no sense here"), where=where, got=got
        )


def _seconds(response: http.client.HTTPResponse) -> float | None:
    """``Retry-After``: seconds, or a date, which counts from the server's own clock (RFC 9110)."""
    text = (response.getheader("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = email.utils.parsedate_to_datetime(text)
        now = email.utils.parsedate_to_datetime(response.getheader("Date") or "")
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _text(error: Exception) -> str:
    text = redact_text(str(error) or type(error).__name__)
    return "".join(c if c.isprintable() else " " for c in text[:_TEXT_LIMIT])
