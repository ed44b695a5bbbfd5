"""rsync, to a folder of this machine or to another machine.

rsync gets one task at a time, so that the order of publishing is ours and not its own. Its quick
check of size and time never decides what is right: checksums of both sides are compared.
Source: rsync.1.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec import field

from repack.errors import PlaceError, SpaceError, UsageError
from repack.fs import atomic
from repack.fs.litter import is_litter
from repack.structs import Value
from repack.urls import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from repack.file_entry import FileEntry

_PLACE: Final = re.compile(r"((?:[^@/]+@)?)(\[[^\]]+\]|[^:/\[\]]+):(?!:)(.*)", re.DOTALL)
# POSIX, df -P: blocks of 1024 bytes, used, available, per cent
_SPACE_ROW: Final = re.compile(r"\s\d+\s+\d+\s+(\d+)\s+\d+%\s")
_DF_TIMEOUT: Final = 20

# `host:path`, not `C:\path`: a host has two letters or more, and no slash before the colon.
_SCP: Final = re.compile(r"(?:[^/\\:@]+@)?(?:[^/\\:\[\]]{2,}|\[[^\]/\\]+\]):(?!\\).*", re.DOTALL)
_ROW: Final = re.compile(r"([-dlcbps])\S* +([\d,.]+) \S+ \S+ (.*)")
MAX_ERROR_TEXT: Final = 2000
_MISSING: Final = 23
_VANISHED: Final = 24
# rsync.1, EXIT VALUES: what a broken or refused connection ends with
_CONNECTION: Final = {5, 10, 12, 30, 35, 255}


class Remote(Value, frozen=True):
    """A folder that only rsync reaches.

    Attributes:
        target: as rsync wants it, without a password.
        shown: for messages.
        port: ssh's, where it is not the usual one.
        environment: a daemon's password.
    """

    hidden_fields: ClassVar = ("environment",)

    target: str
    shown: str
    port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def remote(dest: str) -> Remote | None:
    """``dest`` as a place that rsync reaches; None when it is a folder.

    ``rsync://[user[:password]@]host[:port]/module/path``, ``ssh://[user@]host[:port]/path`` and
    ``[user@]host:path`` are places; drive letters and UNC paths are folders.

    Raises:
        UsageError: the URL has no host or path.
    """
    if dest.lower().startswith(("rsync://", "ssh://")):
        return _from_url(dest)
    if "://" in dest:
        raise UsageError(
            "not a place to sync to",
            where=redact_text(dest),
            expected="a folder, \\\\server\\share, rsync://host/module/path, host:path",
        )
    if _SCP.fullmatch(dest) and not Path(dest).exists():
        return Remote(dest.rstrip("/"), dest)
    return None


def _from_url(dest: str) -> Remote:
    try:
        parts = urlsplit(dest)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not parts.hostname or len(parts.path) < 2:
        raise UsageError("no host or no path", where=redact_text(dest))
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    user = f"{unquote(parts.username)}@" if parts.username else ""
    path = unquote(parts.path).rstrip("/")
    if parts.scheme.lower() == "ssh":
        return Remote(f"{user}{host}:{path}", f"ssh://{user}{host}{path}", port)
    at = f"{user}{host}:{port}" if port else f"{user}{host}"
    secret = {"RSYNC_PASSWORD": unquote(parts.password)} if parts.password else {}
    target = urlunsplit(("rsync", at, path, "", ""))
    return Remote(target, target, None, secret)


class Rsync:
    """rsync, towards one folder.

    Args:
        place: where to.
        rate: bytes a second.

    Raises:
        UsageError: there is no rsync on this machine.
    """

    def __init__(self, place: Remote, rate: int | None = None) -> None:
        program = shutil.which("rsync")
        if program is None:
            raise UsageError(
                "rsync is needed to sync to another machine",
                where=place.shown,
                hint="install rsync, or mount the folder and name it as a path",
            )
        self._place = place
        # --protect-args: blanks in a path are not for the shell over there
        self._start = [program, "--no-human-readable", "--8-bit-output", "--protect-args"]
        if place.port:
            shell = os.environ.get("RSYNC_RSH") or "ssh"
            self._start += ["--rsh", f"{shell} -p {place.port}"]
        # rsync counts in KiB, and 0 means no limit
        self._limit = [f"--bwlimit={max(1, rate // 1024)}"] if rate else []

    @property
    def where(self) -> str:
        """The place, for messages."""
        return self._place.shown

    def room(self) -> int | None:
        """Bytes that are free there; None where that cannot be asked."""
        return remote_room(self._place)

    def sizes(self) -> dict[str, int]:
        """Every file there, by path; empty when the folder is not there.

        Raises:
            PlaceError: it cannot be looked at.
        """
        code, out = self._run(["-r", "--list-only", f"{self._place.target}/"], may_fail=_MISSING)
        if code:
            return {}
        rows = [row for line in out.splitlines() if (row := _ROW.fullmatch(line))]
        size_by_path = {row[3]: int(re.sub(r"[,.]", "", row[2])) for row in rows if row[1] != "d"}
        return {
            path: size
            for path, size in size_by_path.items()
            if not any(map(is_litter, path.split("/")))
        }

    def fetch(self, path: str) -> bytes:
        """One small file from there.

        Raises:
            PlaceError: it cannot be had.
        """
        with tempfile.TemporaryDirectory(prefix="repack-sync-") as folder:
            copy = Path(folder) / "file"
            self._run([f"{self._place.target}/{path}", str(copy)])
            return atomic.read(copy, 256 << 20)

    def send(self, root: Path, paths: Sequence[str], advance: Callable[[int], None]) -> None:
        """Send the files ``paths`` below ``root``; each appears there whole, in rsync's order.

        Raises:
            SpaceError: the disk there is full.
            PlaceError: it cannot be written, or the connection broke.
        """
        # --checksum: a text changes under the same size and time, which rsync would pass over.
        options = ["-t", "--checksum", "--partial-dir=.repack-partial", "--out-format=%l"]

        def count(line: str) -> None:
            advance(int(line) if line.isdecimal() else 0)

        self._transfer(root, paths, [*options, *self._limit], count)

    def differing(self, root: Path, paths: Sequence[str]) -> list[str]:
        """Which of ``paths`` are not there as they are here, by checksums made on both sides.

        Raises:
            PlaceError: the connection broke.
        """
        lines: list[str] = []
        self._transfer(root, paths, ["--checksum", "--dry-run", "--out-format=%n"], lines.append)
        return [line for line in lines if not line.endswith("/")]

    def prune(self, paths: Sequence[str], root: Path) -> None:
        """Remove ``paths`` there; nothing else is touched.

        Raises:
            PlaceError: they cannot be removed.
        """
        # A path that is named and not here is removed there (rsync.1, --delete-missing-args).
        missing = [path for path in paths if not (root / path).exists()]
        self._transfer(root, missing, ["--delete-missing-args", "--force"], lambda _line: None)

    def _transfer(
        self, root: Path, paths: Sequence[str], options: list[str], on_line: Callable[[str], None]
    ) -> None:
        """Run rsync over ``paths`` alone, from ``root`` to the place."""
        if not paths:
            return
        with tempfile.TemporaryDirectory(prefix="repack-sync-") as folder:
            listing = Path(folder) / "files"
            listing.write_bytes(b"\0".join(path.encode() for path in paths))
            files = ["--from0", f"--files-from={listing}", f"{root}/", f"{self._place.target}/"]
            self._run([*options, *files], on_line)

    def _run(
        self,
        options: list[str],
        on_line: Callable[[str], None] | None = None,
        may_fail: int | None = None,
    ) -> tuple[int, str]:
        """Run rsync.

        Args:
            on_line: gets each line of output; without it they are returned.
            may_fail: an exit code that is no error where the folder there does not exist yet.
        """
        environment = {**os.environ, "LC_ALL": "C", **self._place.environment}
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*self._start, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                encoding="utf-8",
                errors="surrogateescape",
                preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509 - two calls
            )
            lines: list[str] = []
            with process:
                for line in process.stdout or ():
                    (on_line or lines.append)(line.rstrip("\n"))
            errors.seek(0)
            text = errors.read(MAX_ERROR_TEXT).decode("utf-8", "replace").strip()
        code = process.returncode
        if code not in {0, _VANISHED} and not (code == may_fail and "No such file" in text):
            raise self._error(code, text)
        return code, "\n".join(lines)

    def _error(self, code: int, text: str) -> PlaceError | SpaceError:
        where, got = self._place.shown, redact_text(text) or f"rsync ended with {code}"
        if "No space left" in text or "Disk quota" in text:
            return SpaceError(
                "no space left there", where=where, got=got, hint="free some space and run again"
            )
        what = "the connection failed" if code in _CONNECTION else "rsync failed"
        hint = "run again: what arrived is kept, and readers there see a complete channel"
        return PlaceError(what, where=where, got=got, hint=hint)


def _die_with(parent: int) -> Callable[[], None]:
    """Let the system end a child whose parent was killed (``prctl(2)``, PR_SET_PDEATHSIG)."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(1, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed before we asked
            os._exit(1)

    return ask


class LocalRsync:
    """rsync as the transport to a folder of this machine."""

    name = "rsync"

    def __init__(self, root: Path, rate: int | None = None) -> None:
        self._root, self._rate = root, rate

    def copy(
        self, entries: Sequence[FileEntry], stage: Path, advance: Callable[[int], None]
    ) -> None:
        """Copy ``entries`` below ``stage``. Raises as :meth:`Rsync.send` does."""
        rsync = Rsync(Remote(str(stage), str(stage)), self._rate)
        rsync.send(self._root, [entry.path for entry in entries], advance)


def local_engine(engine: str) -> str:
    """What copies to a folder: ``auto`` is rsync where there is one, else this program itself.

    Raises:
        UsageError: the program that is asked for is not there.
    """
    windows = sys.platform == "win32"
    if engine == "auto":
        candidates = ("robocopy",) if windows else ("rsync",)
        return next((name for name in candidates if shutil.which(name)), "own")
    if engine != "own" and shutil.which(engine) is None:
        raise UsageError(f"there is no {engine} on this machine", hint="leave --with away")
    return engine


def remote_room(place: Remote) -> int | None:
    """Bytes that are free there; None where that cannot be asked."""
    match = _PLACE.fullmatch(place.target)
    if match is None or place.target.lower().startswith("rsync://"):
        return None
    user, host, path = match.groups()
    parent = path.rstrip("/").rpartition("/")[0] or "."
    # The folder itself, or its parent where it is still to be made.
    commands = [f"df -Pk -- {shlex.quote(folder)}" for folder in (path or ".", parent)]
    # BatchMode: a person is asked for a password once, by rsync, and not for this as well.
    shell = [*shlex.split(os.environ.get("RSYNC_RSH") or "ssh"), "-o", "BatchMode=yes"]
    port = ["-p", str(place.port)] if place.port else []
    try:
        df = subprocess.run(
            [
                *shell,
                *port,
                f"{user}{host.strip('[]')}",
                f"{commands[0]} 2>/dev/null || {commands[1]}",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DF_TIMEOUT,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    rows = _SPACE_ROW.findall(df.stdout.decode(errors="replace"))
    return int(rows[-1]) * 1024 if df.returncode == 0 and rows else None
