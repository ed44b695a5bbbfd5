"""Real servers on this machine that can misbehave in every way a network does."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator


@dataclass
class Request:
    """What a client asked for."""

    path: str
    headers: dict[str, str]


# Says whether it has answered; else the next misdeed, and at last the file itself, does.
type_misdeed = "Callable[[Handler, bytes], bool]"


@dataclass
class Site:
    """Files by path. ``once`` holds misdeeds that happen one after the other, ``always`` one."""

    files: dict[str, bytes] = field(default_factory=dict)
    once: dict[str, list] = field(default_factory=dict)
    always: dict[str, Callable] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    def of(self, path: str) -> list[Request]:
        return [request for request in self.asked if request.path == path]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    site: Site

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""

    def finish_request(self, request, client_address):
        self.site.connections += 1
        super().finish_request(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args):
        """Say nothing."""

    @property
    def site(self) -> Site:
        return self.server.site

    def do_GET(self):
        path = urlsplit(self.path).path if self.path.startswith("http") else self.path
        self.site.asked.append(Request(self.path, {k.lower(): v for k, v in self.headers.items()}))
        data = self.site.files.get(path.split("?", maxsplit=1)[0])
        misdeeds = self.site.once.get(path)
        if misdeeds:
            if misdeeds.pop(0)(self, data or b""):
                return
        elif path in self.site.always and self.site.always[path](self, data or b""):
            return
        if data is None:
            self.answer(404, b"no such file")
        else:
            self.give(data)

    def do_HEAD(self):
        path = urlsplit(self.path).path if self.path.startswith("http") else self.path
        self.send_response(200 if path in self.site.files else 404)
        self.send_header("Content-Length", str(len(self.site.files.get(path, b""))))
        self.end_headers()

    def etag(self, data: bytes) -> str | None:
        return self.site.etags.get(self.path, f'"{len(data)}"')

    def give(self, data: bytes) -> None:
        """The file, or the part of it that was asked for, as nginx would."""
        etag, wanted = self.etag(data), self.headers.get("Range")
        if etag and self.headers.get("If-None-Match") == etag:
            self.answer(304, b"", {"ETag": etag}, length=None)
            return
        if wanted and self.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            span = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.answer(206, data[start:], {"Content-Range": span, "ETag": etag})
        else:
            self.answer(200, data, {"ETag": etag})

    def answer(self, status: int, body: bytes, headers: dict | None = None, **kw) -> None:
        length = kw.get("length", len(body))
        self.send_response(status)
        for name, value in (headers or {}).items():
            if value is not None:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def hang_up(self, *, rudely: bool = False) -> None:
        if rudely:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        with contextlib.suppress(OSError):
            if not rudely:
                self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()


def truncate(at: int, *, rudely: bool = False):
    """Promise the whole and hang up after ``at`` bytes; with a reset if ``rudely``."""

    def misdeed(handler: Handler, data: bytes) -> bool:
        wanted = handler.headers.get("Range")
        if wanted:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            handler.answer(206, data[start : start + at], span, length=len(data) - start)
        else:
            handler.answer(200, data[:at], {"ETag": handler.etag(data)}, length=len(data))
        handler.wfile.flush()
        if rudely:
            time.sleep(0.05)
        handler.hang_up(rudely=rudely)
        return True

    return misdeed


def reset(handler: Handler, data: bytes) -> bool:
    handler.hang_up(rudely=True)
    return True


def status(code: int, headers: dict | None = None):
    def misdeed(handler: Handler, data: bytes) -> bool:
        handler.answer(code, b"a page of words", headers)
        return True

    return misdeed


def body(content: bytes, headers: dict | None = None):
    def misdeed(handler: Handler, data: bytes) -> bool:
        handler.answer(200, content, headers)
        return True

    return misdeed


def whole(handler: Handler, data: bytes) -> bool:
    """Ignore Range."""
    handler.answer(200, data, {"ETag": handler.etag(data)})
    return True


def chunked(stop_after: int | None = None):
    """Send in chunks, without a length; stop short of the end if told."""

    def misdeed(handler: Handler, data: bytes) -> bool:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        sent = data if stop_after is None else data[:stop_after]
        for n in range(0, len(sent), 50_000):
            part = sent[n : n + 50_000]
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")
        return True

    return misdeed


def until_close(stop_after: int | None = None):
    """As HTTP/1.0 does: no length, the end is where the connection ends."""

    def misdeed(handler: Handler, data: bytes) -> bool:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(data[:stop_after])
        handler.close_connection = True
        return True

    return misdeed


def slow(pause: float, piece: int = 1000):
    def misdeed(handler: Handler, data: bytes) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            for n in range(0, len(data), piece):
                handler.wfile.write(data[n : n + piece])
                handler.wfile.flush()
                time.sleep(pause)
        return True

    return misdeed


def redirect(url: str, code: int = 302):
    return status(code, {"Location": url})


@contextlib.contextmanager
def serving(
    site: Site, tls: ssl.SSLContext | None = None, handler: type = Handler
) -> Iterator[Site]:
    server = Server(("127.0.0.1", 0), handler)
    server.site = site
    if tls:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    site.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class ProxyHandler(Handler):
    """A proxy: relays ``GET http://…``, tunnels ``CONNECT``; wants ``site.etags['auth']`` if set."""

    def address(self, host: str, port: int | None) -> tuple[str, int]:
        """Where to find ``host``."""
        return host, port or 80

    def do_HEAD(self):
        self.site.asked.append(Request(f"HEAD {self.path}", {}))
        self.answer(407 if self._is_refused() else 404, b"")

    def _is_refused(self) -> bool:
        wanted = self.site.etags.get("auth")
        return bool(wanted) and self.headers.get("Proxy-Authorization") != wanted

    def _refused(self) -> bool:
        if self._is_refused():
            self.answer(407, b"", {"Proxy-Authenticate": "Basic"})
            return True
        return False

    def do_GET(self):
        self.site.asked.append(Request(self.path, {k.lower(): v for k, v in self.headers.items()}))
        if self._refused():
            return
        parts = urlsplit(self.path)
        connection = http.client.HTTPConnection(*self.address(parts.hostname, parts.port))
        kept = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy")}
        connection.request("GET", parts.path, headers=kept)
        response = connection.getresponse()
        self.answer(response.status, response.read())
        connection.close()

    def do_CONNECT(self):
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.site.asked.append(Request(f"CONNECT {self.path}", headers))
        if self._refused():
            return
        host, _, port = self.path.partition(":")
        with socket.create_connection(self.address(host, int(port))) as other:
            self.send_response(200)
            self.end_headers()
            threading.Thread(target=pump, args=(other, self.connection), daemon=True).start()
            pump(self.connection, other)
        self.close_connection = True


def proxy_to(site: Site) -> type[ProxyHandler]:
    """A proxy that finds ``site`` behind every name."""

    class Handler(ProxyHandler):
        def address(self, host: str, port: int | None) -> tuple[str, int]:
            return "127.0.0.1", urlsplit(site.url).port or 80

    return Handler


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
