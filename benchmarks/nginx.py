"""Serves folders on the loopback address by nginx, the fastest server a distribution carries."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONF: Final = """
daemon off; worker_processes 1; pid "{work}/pid"; error_log "{work}/error" crit; user {user};
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path "{work}/a"; proxy_temp_path "{work}/b"; fastcgi_temp_path "{work}/c";
  uwsgi_temp_path "{work}/d"; scgi_temp_path "{work}/e";
  server {{ listen 127.0.0.1:{port}; root "{root}"; }}
}}
"""
_PATIENCE: Final = 10.0


def find() -> str:
    """The nginx program; on Debian it is installed if it is missing and we may.

    Raises:
        SystemExit: there is none, and what to do.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None and os.getuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", "nginx-light"]):
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", "-qq", *command], env=quiet, check=False)
        return find_or_stop()
    return program or find_or_stop()


def find_or_stop() -> str:
    """The nginx program, or the end."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise SystemExit("the benchmarks need nginx: apt-get install nginx-light")
    return program


@contextlib.contextmanager
def serving(root: Path) -> Iterator[str]:
    """Serve ``root`` and yield ``http://127.0.0.1:PORT``."""
    program = find()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="repack-nginx-") as work:
        conf = Path(work) / "nginx.conf"
        user = "root" if os.getuid() == 0 else "nobody"
        conf.write_text(_CONF.format(work=work, port=port, root=root, user=user), "utf-8")
        process = subprocess.Popen([program, "-e", f"{work}/error", "-c", conf])
        try:
            _wait(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(_PATIENCE)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit(f"nginx does not answer on port {port}")
