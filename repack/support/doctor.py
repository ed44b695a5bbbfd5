"""What this machine offers a build, and what it lacks."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from repack.conda import subdir
from repack.errors import RepackError
from repack.fs import atomic, beneath, links
from repack.fs.exchange import can_exchange
from repack.prefix import sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

Verdict = Literal["ok", "note", "lack"]
# A channel of a hundred packages and its extracted copy take about this much.
_COMFORTABLE: Final = 5 * 10**9


class DoctorFinding(Struct, frozen=True):
    """One thing that was looked at: ``lack`` stops builds, ``note`` makes them slower or weaker."""

    what: str
    verdict: Verdict
    text: str

    def to_json(self) -> dict[str, str]:
        """The row ``repack doctor --json`` prints."""
        return {"what": self.what, "verdict": self.verdict, "text": self.text}


def examine(store: Path, channels: Path) -> Iterator[DoctorFinding]:
    """Look at this machine with the eyes of a build."""
    yield DoctorFinding("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield from _libraries()
    for name, folder in (("store", store), ("channels", channels)):
        yield _writable(name, folder)
    yield _links(store, channels)
    yield _exchange(channels)
    yield _proof()
    yield _isolation()
    yield from _indexers()


def _libraries() -> Iterator[DoctorFinding]:
    for name in ("py-rattler", "cryptography", "tuf", "securesystemslib"):
        try:
            yield DoctorFinding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield DoctorFinding(
                name, "lack", "is not installed; install repack with its dependencies"
            )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=atomic.TEMP_PREFIX, dir=_existing(folder)) as name:
        yield Path(name)


def _writable(name: str, folder: Path) -> DoctorFinding:
    try:
        with _probe(folder) as probe:
            atomic.write(probe / "file", b"probe")
    except (OSError, RepackError) as error:
        return DoctorFinding(name, "lack", f"{folder} cannot be written: {error}")
    free = shutil.disk_usage(_existing(folder)).free
    text = f"{folder}, {free / 10**9:.1f} GB free"
    return DoctorFinding(name, "ok" if free > _COMFORTABLE else "note", text)


def _links(store: Path, channels: Path) -> DoctorFinding:
    try:
        with _probe(store) as one, _probe(channels) as other:
            atomic.write(one / "file", b"probe")
            how = links.place(one / "file", other / "file")
    except (OSError, RepackError) as error:
        return DoctorFinding("links", "lack", str(error))
    if how == "copy":
        return DoctorFinding(
            "links", "note", "store and channels share no file system: packages are copied"
        )
    return DoctorFinding("links", "ok", f"packages enter channels by {how}")


def _exchange(channels: Path) -> DoctorFinding:
    if can_exchange(_existing(channels)):
        return DoctorFinding("publish", "ok", "a channel is exchanged in one system call")
    return DoctorFinding(
        "publish", "note", "no folder exchange here: packages, metadata, removals in turn"
    )


def _proof() -> DoctorFinding:
    host = subdir.host_subdir()
    if host is None:
        text = f"{platform.machine()} on {sys.platform}: no platform can be proved by linking"
        return DoctorFinding("proof", "note", text)
    return DoctorFinding("proof", "ok", f"{host} can be proved by linking")


def _indexers() -> Iterator[DoctorFinding]:
    """Tools with which a customer may index a channel anew; no build needs them."""
    for name, variable in (("conda-index", "CONDA_INDEX_EXE"), ("conda-build", "CONDA_BUILD_EXE")):
        path = os.environ.get(variable) or shutil.which(name)
        text = path or f"is not here; put it on PATH or set {variable} to try what customers do"
        yield DoctorFinding(name, "ok" if path else "note", text)


def _isolation() -> DoctorFinding:
    with tempfile.TemporaryDirectory(prefix=atomic.TEMP_PREFIX) as name:
        prefix, work = Path(name, "prefix"), Path(name, "work")
        beneath.make_folder(prefix)
        beneath.make_folder(work)
        if words := sandbox.sandbox_words(prefix.resolve(), work):
            how = "bubblewrap" if Path(words[0]).name == "bwrap" else "user namespaces"
            text = f"health checks run in a sandbox ({how}): no network, no sight of keys"
            return DoctorFinding("sandbox", "ok", text)
    network = "without network" if sandbox.network_cutter() else "with proxies that lead nowhere"
    text = (
        f"no sandbox here: health checks run {network}, and what packages bring can read and write "
        "whatever you can, keys and store included; install bubblewrap, or build in a container"
    )
    return DoctorFinding("sandbox", "note", text)
