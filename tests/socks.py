"""A real SOCKS5 proxy (RFC 1928, RFC 1929) that alone knows where some hosts are."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from dataclasses import dataclass, field

from tests.servers import pump


@dataclass
class Proxy:
    """``addresses`` of hosts, the pair it wants, and the hosts it was asked for."""

    addresses: dict[str, tuple[str, int]]
    pair: tuple[str, str] | None
    port: int = 0
    hosts: set[str] = field(default_factory=set)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError, IndexError):
            if self._greet():
                self._connect()

    def _greet(self) -> bool:
        _, count = self.rfile.read(2)
        methods = self.rfile.read(count)
        method = 2 if self.server.proxy.pair else 0
        if method not in methods:
            self.wfile.write(b"\x05\xff")
            return False
        self.wfile.write(bytes([5, method]))
        if method == 2:
            user = self.rfile.read(self.rfile.read(2)[1]).decode()
            password = self.rfile.read(self.rfile.read(1)[0]).decode()
            is_right = (user, password) == self.server.proxy.pair
            self.wfile.write(bytes([1, 0 if is_right else 1]))
            return is_right
        return True

    def _connect(self) -> None:
        _, _, _, kind = self.rfile.read(4)
        if kind == 3:
            host = self.rfile.read(self.rfile.read(1)[0]).decode()
        else:
            host = socket.inet_ntoa(self.rfile.read(4))
        port = int.from_bytes(self.rfile.read(2), "big")
        proxy = self.server.proxy
        proxy.hosts.add(host)
        with socket.create_connection(proxy.addresses.get(host, (host, port))) as target:
            self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
            threading.Thread(target=pump, args=(target, self.connection), daemon=True).start()
            pump(self.connection, target)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: Proxy


@contextlib.contextmanager
def serving(addresses, pair=None):
    with Server(("127.0.0.1", 0), Handler) as server:
        server.proxy = Proxy(addresses, pair, server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.proxy
        finally:
            server.shutdown()
            thread.join()
