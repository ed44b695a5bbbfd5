"""A channel server on the loopback address, in a thread, with the ``/t/TOKEN/`` of private ones."""

from __future__ import annotations

import contextlib
import threading
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    """Serves the folders of ``private`` below ``/t/TOKEN/`` only, everything else openly."""

    protocol_version = "HTTP/1.1"
    private: frozenset[str] = frozenset()
    token = ""

    def send_head(self) -> Any:
        """Take the token off the path before the file is looked for."""
        prefix = f"/t/{self.token}/"
        known = self.path.startswith(prefix)
        if known:
            self.path = "/" + self.path.removeprefix(prefix)
        if self.path.split("/")[1] in self.private and not known:
            self.send_error(HTTPStatus.UNAUTHORIZED)
            return None
        return super().send_head()

    def log_message(self, *_: object) -> None:
        """Say nothing: a log would hold the token."""


class Server(ThreadingHTTPServer):
    """Takes as many connections at once as a client that fetches in parallel opens."""

    request_queue_size = 128
    daemon_threads = True


@contextlib.contextmanager
def serving(root: Path, private: str, token: str, port: int = 0) -> Iterator[str]:
    """Serve the channels below ``root`` and yield the address, ``http://127.0.0.1:PORT``.

    Args:
        root: the folder above the channels.
        private: the channel that is served to those with the token only.
        token: what they have to say.
        port: 0 for any free one.
    """
    options = {"private": frozenset({private}), "token": token}
    handler = type("Here", (Handler,), options)

    def here(*arguments: Any) -> SimpleHTTPRequestHandler:
        made: SimpleHTTPRequestHandler = handler(*arguments, directory=str(root))
        return made

    with Server(("127.0.0.1", port), here) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
