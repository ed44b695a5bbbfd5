"""An answer from upstream: a body that is read once, from a connection or a local file."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import unquote, urlsplit

from repack.errors import RepackError
from repack.fs import beneath
from repack.structs import Value
from repack.upstream.errors import NotAvailableError, TransientError, translate_errors
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from repack.upstream.route import Route

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)\Z")


class Response(Value, frozen=True):
    """What came back: a body to be read once.

    Attributes:
        start: the offset in the file of the body's first byte.
        length: bytes of the body, if it was said.
        validator: for ``If-Range`` and ``If-None-Match``, if there is a strong one.
        content_type: its media type, for messages.
        is_unchanged: the server has nothing newer than what was asked with; there is no body.
    """

    hidden_fields: ClassVar = ("_read",)

    start: int
    length: int | None
    validator: str | None
    content_type: str
    _read: Callable[[int], bytes]
    is_unchanged: bool = False

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than ``size`` only at the end, then none.

        Raises:
            TransientError: the connection broke.
        """
        return self._read(size)


class AdaptiveReader:
    """How much to read at once.

    Large reads are fast (64 KiB at a time cost a quarter more than 1 MiB), but what was read of one
    is lost when the connection is reset. So a read is as large as what comes in a moment.
    """

    _SMALLEST: Final = 64 << 10
    _LARGEST: Final = 1 << 20

    def __init__(self) -> None:
        self._size = 2 * self._SMALLEST

    def read(self, response: Response) -> bytes:
        """The next bytes; none at the end."""
        began = time.monotonic()
        data = response.read(self._size)
        seconds = time.monotonic() - began
        if seconds < 0.05:
            self._size = min(2 * self._size, self._LARGEST)
        elif seconds > 0.2:
            self._size = max(self._size // 2, self._SMALLEST)
        return data


class SlownessLimit:
    """Refuses a body that trickles.

    Only time spent waiting for the network counts, not what the reader does in between.

    Args:
        seconds: of waiting, after which there must be ``least`` bytes more.
    """

    def __init__(self, seconds: float, least: int) -> None:
        self._seconds, self._least = seconds, least
        self._waited, self._came = 0.0, 0

    def note(self, count: int, waited: float, where: str) -> None:
        """Count ``count`` bytes that came after ``waited`` seconds.

        Raises:
            TransientError: it is too slow.
        """
        self._waited, self._came = self._waited + waited, self._came + count
        if self._waited < self._seconds:
            return
        if self._came < self._least:
            raise TransientError(
                "the server sends too slowly",
                where=where,
                expected=f"{self._least} bytes in {self._seconds:g} s",
                got=f"{self._came} bytes in {self._waited:.0f} s",
            )
        self._waited, self._came = 0.0, 0


def http_response(response: requests.Response, route: Route, limit: SlownessLimit) -> Response:
    """The body of an HTTP response, whole or a part.

    Raises:
        NotAvailableError: it is a part that does not say which.
    """
    start, headers = 0, response.headers
    if response.status_code == 206:
        match = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
        if not match:
            raise NotAvailableError(
                "a part without its place in the file", where=redact_url(route.url)
            )
        start = int(match.group(1))

    raw, where = response.raw, redact_url(route.url)
    # `read` returns when all of it has come, however long that takes; `read1`, which urllib3 has
    # since 2.1, with what is there.
    read_some = getattr(raw, "read1", raw.read)

    faults: list[RepackError] = []

    def read(size: int) -> bytes:
        if faults:
            raise faults[0]
        parts: list[bytes] = []
        while size > 0:
            began = time.monotonic()
            try:
                with translate_errors(route):
                    data: bytes = read_some(size)
                if not data:
                    break
                parts.append(data)
                limit.note(len(data), time.monotonic() - began, where)
            except RepackError as error:
                # What came before is kept: a download goes on from there.
                faults.append(error)
                if not parts:
                    raise
                break
            size -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # A weak ETag ("W/...") does not promise the same bytes (RFC 9110, section 8.8.1).
    etag = headers.get("ETag", "")
    return Response(
        start=start,
        length=response.raw.length_remaining,
        validator=etag if etag.startswith('"') else headers.get("Last-Modified"),
        content_type=headers.get("Content-Type", "").partition(";")[0][:80],
        _read=read,
        is_unchanged=response.status_code == 304,
    )


def file_response(url: str) -> Iterator[Response]:
    """A file of this machine.

    Raises:
        NotAvailableError: it cannot be opened.
    """
    path = _path_of_url(url)
    try:
        stream = beneath.reading(path, 0)
    except OSError as error:
        raise NotAvailableError((error.strerror or "unreadable").lower(), where=path) from error

    def read(size: int) -> bytes:
        try:
            return stream.read(size) or b""
        except OSError as error:
            raise TransientError((error.strerror or "unreadable").lower(), where=path) from error

    with stream:
        yield Response(0, os.fstat(stream.fileno()).st_size, None, "", read)


def _path_of_url(url: str) -> Path:
    """The path a ``file`` URL names on this host (RFC 8089)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise NotAvailableError("not the URL of a file", where=redact_url(url)) from None
    if sys.platform == "win32":
        from urllib.request import url2pathname

        return Path(url2pathname(f"//{parts.netloc}{parts.path}" if parts.netloc else parts.path))
    if parts.netloc not in {"", "localhost"}:
        raise NotAvailableError("a share must be mounted to be read here", where=redact_url(url))
    return Path(unquote(parts.path, errors="surrogateescape"))
