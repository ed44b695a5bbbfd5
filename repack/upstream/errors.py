"""What can go wrong between here and a server, told apart by what helps."""

from __future__ import annotations

import contextlib
import email.utils
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from repack.errors import FetchError, UsageError
from repack.urls import redact_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repack.upstream.route import Route

_TRANSIENT_STATUSES: Final = {408, 425, 429}
_TEXT_LIMIT: Final = 200
# What http.client, PySocks and repack's session say.
_PROXY_REFUSALS: Final = (
    "Tunnel connection failed: 4",
    "SOCKS5 auth",
    "All offered SOCKS5 auth",
    "no Kerberos ticket",
)


class TransientError(FetchError):
    """It may work later; ``retry_after`` is how many seconds the server wants to be left alone."""

    retry_after: float | None = None


class NotAvailableError(FetchError):
    """This file cannot be had from there; others may."""


class HostRefusedError(FetchError):
    """Nothing can be had from there until somebody corrects a setting."""


@contextlib.contextmanager
def translate_errors(route: Route) -> Iterator[None]:
    """Turn what sockets, TLS, urllib3 and requests raise into one of the errors above.

    Raises:
        TransientError: the connection could not be made, or broke.
        NotAvailableError: the URL or a header cannot be sent.
        HostRefusedError: TLS or the proxy refuses.
        UsageError: the proxy needs a library that is not installed.
    """
    import requests
    import urllib3

    try:
        yield
    except requests.exceptions.InvalidHeader:
        # Its message quotes the header, and the header is a secret.
        raise _header_fault(route) from None
    except requests.exceptions.InvalidSchema as error:
        raise UsageError(
            "this kind of proxy needs a library that is not installed",
            where=route.proxy and redact_url(route.proxy),
            got=_printable(error),
            hint="install it: pip install 'repack[proxy]'",
        ) from None
    except requests.exceptions.InvalidURL:
        raise NotAvailableError(
            "not a URL that HTTP can ask for", where=redact_url(route.url)
        ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _from_cause(_first_cause(error), route) from error
    except ValueError:
        raise _header_fault(route) from None


def _header_fault(route: Route) -> NotAvailableError:
    return NotAvailableError(
        "the credentials hold characters that HTTP cannot carry", where=redact_url(route.url)
    )


def _first_cause(error: BaseException) -> BaseException:
    """The exception at the bottom: requests wraps urllib3's, urllib3 those of sockets and TLS.

    requests and urllib3 keep it as ``reason`` or argument, PySocks as ``socket_err``. The context
    counts for urllib3's alone: that of others may belong to whoever called.
    """
    from urllib3.exceptions import HTTPError

    wrapped = (
        getattr(error, "reason", None),
        getattr(error, "socket_err", None),
        error.__cause__,
        *error.args,
        error.__context__ if isinstance(error, HTTPError) else None,
    )
    inner = next((e for e in wrapped if isinstance(e, BaseException)), None)
    return _first_cause(inner) if inner else error


def _from_cause(error: BaseException, route: Route) -> FetchError:
    import ssl

    where, text = redact_url(route.url), _printable(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return HostRefusedError(
            "the server's certificate is not trusted",
            where=where,
            got=error.verify_message,
            hint=route.hint(
                f"trusted is {route.trusted}; where a proxy inspects TLS, "
                "name its CA file by REQUESTS_CA_BUNDLE or conda's ssl_verify"
            ),
        )
    if isinstance(error, ssl.SSLError) and not isinstance(
        error, ssl.SSLEOFError | ssl.SSLZeroReturnError
    ):
        return HostRefusedError("no agreement on TLS", where=where, got=text, hint=route.hint())
    if text.startswith(_PROXY_REFUSALS):
        wants_credentials = any(word in text for word in ("407", "auth", "Kerberos"))
        what = "wants other credentials" if wants_credentials else "refuses the way"
        what = f"the proxy {what}"
        return HostRefusedError(what, where=where, got=text, hint=route.hint(_proxy_hint(route)))
    if isinstance(error, TimeoutError):
        what = "no answer in time"
    elif isinstance(error, socket.gaierror):
        what = "the host's address cannot be found"
    elif isinstance(error, ConnectionRefusedError):
        what = "nobody answers there"
    else:
        what = "the connection broke"
    return TransientError(what, where=where, got=text, hint=route.hint())


def from_status(status: int, headers: Mapping[str, str], route: Route) -> FetchError:
    """The error that an answer other than the file stands for."""
    where, got = redact_url(route.url), f"HTTP {status}"
    if status == 401:
        what = "the server wants credentials"
        if route.credential:
            what = f"the server does not accept the credentials of {route.credential.source}"
        return HostRefusedError(
            what,
            where=where,
            got=got,
            hint="they come from the URL (/t/TOKEN/ or user:password@), RATTLER_AUTH_FILE, "
            "~/.rattler/credentials.json, .netrc or the keyring",
        )
    if status == 407:
        what = "the proxy wants other credentials"
        return HostRefusedError(what, where=where, got=got, hint=route.hint(_proxy_hint(route)))
    if status in _TRANSIENT_STATUSES or status >= 500:
        what = "the server is overloaded or out of order"
        error = TransientError(what, where=where, got=got, hint=route.hint())
        error.retry_after = _retry_after(headers)
        return error
    what = {
        403: "the server does not give it out",
        404: "not there",
        410: "not there any more",
    }.get(status, "an answer that makes no sense here")
    return NotAvailableError(what, where=where, got=got)


def _proxy_hint(route: Route) -> str | None:
    """What a proxy without a password may be asking for."""
    if not route.proxy or urlsplit(route.proxy).username is not None:
        return None
    return "name user and password in its URL, or for Kerberos: pip install 'repack[proxy]'"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """``Retry-After``: seconds, or a date, which counts from the server's own clock (RFC 9110)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        until = email.utils.parsedate_to_datetime(text)
        now = email.utils.parsedate_to_datetime(headers.get("Date", ""))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _printable(error: BaseException) -> str:
    text = redact_text(str(error) or type(error).__name__)
    return "".join(c if c.isprintable() else " " for c in text[:_TEXT_LIMIT])
