"""An answer from upstream: a body that is read once, from a connection or a local file."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import unquote, urlsplit

from repack.structs import Value
from repack.upstream.errors import NotAvailableError, TransientError
from repack.urls import redact_url

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Iterator

    from repack.upstream.errors import Route

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)\Z")


class Response(Value, frozen=True):
    """What came back: a body to be read once.

    Attributes:
        start: the offset in the file of the body's first byte.
        length: bytes of the body, if it was said.
        validator: for ``If-Range``, if there is a strong one.
        kind: its media type, for messages.
    """

    hidden_fields: ClassVar = ("_read",)

    start: int
    length: int | None
    validator: str | None
    kind: str
    _read: Callable[[memoryview], int]

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer`` and return how much; less than asked only at the end, then 0.

        Raises:
            PassingError: the connection broke.
        """
        return self._read(buffer)


class AdaptiveReader:
    """How much to read at once.

    Large reads are fast (64 KiB at a time cost a quarter more than 1 MiB), but what was read of one
    is lost when the connection is reset. So a read is as large as what comes in a moment.
    """

    _SMALLEST: Final = 64 << 10
    _LARGEST: Final = 1 << 20

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(self._LARGEST))
        self._size = 2 * self._SMALLEST

    def read(self, answer: Response) -> memoryview:
        """The next bytes, valid until the next call; none at the end."""
        began = time.monotonic()
        count = answer.readinto(self._buffer[: self._size])
        took = time.monotonic() - began
        if took < 0.05:
            self._size = min(2 * self._size, self._LARGEST)
        elif took > 0.2:
            self._size = max(self._size // 2, self._SMALLEST)
        return self._buffer[:count]


def answered(response: http.client.HTTPResponse, route: Route) -> Response:
    """The body of an HTTP response, whole or a part.

    Raises:
        MissingError: it is a part of nobody knows where.
    """
    start = 0
    if response.status == 206:
        match = _CONTENT_RANGE.match(response.getheader("Content-Range") or "")
        if not match:
            raise NotAvailableError(
                "a part without its place in the file", where=redact_url(route.url)
            )
        start = int(match.group(1))

    def read(buffer: memoryview) -> int:
        with route.told():
            count = response.readinto(buffer)
            if not count and buffer and response.length:
                raise ConnectionError(f"{response.length} bytes are missing")
            return count

    etag = response.getheader("ETag")
    strong = etag if etag and etag.startswith('"') else response.getheader("Last-Modified")
    kind = (response.getheader("Content-Type") or "").partition(";")[0][:80]
    return Response(start, response.length, strong, kind, read)


def local(url: str) -> Iterator[Response]:
    """A file of this machine.

    Raises:
        MissingError: it cannot be opened.
    """
    path = _path_of(url)
    try:
        stream = path.open("rb", buffering=0)
    except OSError as error:
        raise NotAvailableError((error.strerror or "unreadable").lower(), where=path) from error

    def read(buffer: memoryview) -> int:
        try:
            return stream.readinto(buffer) or 0
        except OSError as error:
            raise TransientError((error.strerror or "unreadable").lower(), where=path) from error

    with stream:
        yield Response(0, os.fstat(stream.fileno()).st_size, None, "", read)


def _path_of(url: str) -> Path:
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
