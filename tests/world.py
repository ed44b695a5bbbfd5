"""A vendor's whole world in a temporary folder: upstream, labels, channels, store."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import shutil
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import zstandard

from repack.cli.main import run
from tests import tiny

TOKEN = "tk-1234-secret"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; below ``/t/TOKEN/`` only with the token. Counts what was asked for."""

    def log_message(self, *_args):
        return

    def do_GET(self):
        self.server.asked.append(self.path)
        if "/private/" in self.path and f"/t/{TOKEN}/" not in self.path:
            self.send_error(401)
            return
        super().do_GET()

    def translate_path(self, path):
        return super().translate_path(path.replace(f"/t/{TOKEN}/", "/"))


class Server(http.server.ThreadingHTTPServer):
    """Takes many connections at once, and says nothing of those that end early."""

    request_queue_size = 128

    def handle_error(self, request, client_address):
        return


@contextlib.contextmanager
def serving(folder: Path):
    """Serve ``folder`` on the loopback; yields the URL and the list of paths asked for."""
    handler = partial(Handler, directory=str(folder))
    with Server(("127.0.0.1", 0), handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.asked
        finally:
            server.shutdown()
            thread.join()


@dataclass
class World:
    """Everything lies below ``root``, in folders with spaces and umlauts."""

    root: Path
    label: dict[str, Any] = field(default_factory=dict)
    name: str = "bank"

    def __post_init__(self) -> None:
        self.upstream = self.root / "up strëam"
        self.serve(*tiny.PACKAGES)
        self.labels, self.channels = self.root / "labels", self.root / "chan nels ü"
        self.store = self.root / "störe"
        self.labels.mkdir(parents=True)
        self.label = {
            "label": self.name,
            "channels": [self.upstream.as_uri()],
            "packages": ["tiny-app"],
            "platforms": {"linux-64": {}, "win-64": {}},
            **self.label,
        }

    @property
    def channel(self) -> Path:
        return self.channels / self.name

    def serve(self, *packages: tiny.Package) -> None:
        """Make upstream hold ``packages`` and those for Windows, nothing else."""
        shutil.rmtree(self.upstream, ignore_errors=True)
        tiny.channel(self.upstream, (*packages, *tiny.WINDOWS))

    def write(self, **changes: Any) -> None:
        """Write the label file; JSON is YAML."""
        self.label |= changes
        (self.labels / f"{self.name}.yaml").write_text(json.dumps(self.label), encoding="utf-8")

    def repack(self, command: str, *arguments: str) -> int:
        """Run a command that takes all three folders."""
        folders = ["--channels-dir", str(self.channels), "--store", str(self.store)]
        if command in {"label", "diff"}:
            folders += ["--labels-dir", str(self.labels)]
        if command == "history":
            folders = folders[:2]
        return run([command, *arguments, *folders])

    def build(self, *arguments: str, **changes: Any) -> dict[str, Any]:
        """Build the label, which must go well, and return the JSON."""
        self.write(**changes)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = self.repack("label", self.name, "--json", *arguments)
        assert code == 0, err.getvalue()
        return json.loads(out.getvalue())

    def fail(self, code: int, *arguments: str, **changes: Any) -> str:
        """Build the label, which must end with ``code``, and return the message."""
        self.write(**changes)
        before = snapshot(self.channel)
        err = io.StringIO()
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            got = self.repack("label", self.name, *arguments)
        assert got == code, err.getvalue()
        assert "Traceback" not in err.getvalue()
        assert snapshot(self.channel) == before, "the published channel was touched"
        return err.getvalue()


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with its inode, time and content."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            path.read_bytes(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def records(folder: Path, subdir: str, name: str = "repodata.json") -> dict[str, dict[str, Any]]:
    """The records of a subdir by file name."""
    document = json.loads((folder / subdir / name).read_bytes())
    return {**document["packages"], **document["packages.conda"]}


def check(folder: Path, subdirs=("noarch", "linux-64", "win-64")) -> set[str]:
    """A careful reader: all variants agree, every record's file is there and right."""
    import bz2
    import hashlib

    found = set()
    for subdir in subdirs:
        data = (folder / subdir / "repodata.json").read_bytes()
        assert zstandard.decompress((folder / subdir / "repodata.json.zst").read_bytes()) == data
        assert bz2.decompress((folder / subdir / "repodata.json.bz2").read_bytes()) == data
        assert json.loads(data)["info"]["subdir"] == subdir
        for fn, record in records(folder, subdir).items():
            archive = (folder / subdir / fn).read_bytes()
            assert hashlib.sha256(archive).hexdigest() == record["sha256"]
            assert len(archive) == record["size"]
            found.add(f"{subdir}/{fn}")
    return found
