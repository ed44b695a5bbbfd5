"""Install a release of models and strategies: all of it, or nothing."""

from __future__ import annotations

import contextlib
import time
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from repack.bundle.archive import Trust
from repack.bundle.package_reader import read_release
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic, beneath
from repack.fs.swap import Exchange, exchanging, walk
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from repack.archive.verified_tar import ReleaseFile, Section
    from repack.bundle.archive import Checked, ReleaseManifest


class InstallFolders(Struct, frozen=True):
    """Where a release goes.

    Attributes:
        folders: per section; a section that the release does not have is left alone.
        backups: gets a copy of every folder that is replaced.
    """

    folders: Mapping[Section, Path]
    backups: Path


class InstallReport(Struct, frozen=True):
    """What an installation did.

    Attributes:
        installed: paths as in the manifest.
        backups: per section, for those that had a folder before.
        removed: paths that were there, and that the release does not have.
    """

    version: str
    checked: Checked
    installed: tuple[str, ...]
    backups: Mapping[Section, Path]
    removed: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, object]:
        """For the report file and stdout."""
        return {
            "version": self.version,
            "signature": self.checked,
            "installed": list(self.installed),
            "backups": [{"name": k, "path": str(path)} for k, path in self.backups.items()],
            "removed": list(self.removed),
            "seconds": round(self.seconds, 3),
        }


def install(
    source: Path,
    targets: InstallFolders,
    trust: Trust,
    now: dt.datetime,
    progress: Progress = SILENT,
) -> InstallReport:
    """Verify a release whole, then put it in place of the folders that are there.

    Readers of the folders see the old one or the new one. A run that was killed is finished or
    undone by the next one.

    Raises:
        IntegrityError: the release is not whole; nothing was written.
        SignatureError: the signature is not what ``trust`` asks for; nothing was written.
        UsageError: the release has a section that no folder is given for.
        BusyError: another installation is running.
        SpaceError: the disk is full; nothing has changed.
        PlaceError: a folder cannot be written; nothing has changed.
    """
    began = time.monotonic()
    with progress.phase(f"verify {source.name}", None, "files"):
        read = read_release(source, trust)
    manifest = read.manifest
    exchanges = _plan(manifest, targets, now)
    with exchanging(list(exchanges.values()), "an installation") as backups:
        _build(source, manifest, exchanges, progress)
        removed = _removed(manifest, exchanges)
    return InstallReport(
        version=manifest.version,
        checked=read.checked,
        installed=tuple(artifact.path for artifact in manifest.artifacts),
        backups={s: backups[e.target] for s, e in exchanges.items() if e.target in backups},
        removed=removed,
        seconds=time.monotonic() - began,
    )


def _plan(
    manifest: ReleaseManifest, targets: InstallFolders, now: dt.datetime
) -> dict[Section, Exchange]:
    sections = sorted({artifact.section for artifact in manifest.artifacts})
    if missing := [section for section in sections if section not in targets.folders]:
        raise UsageError(
            f"the release has {' and '.join(missing)}",
            expected=", ".join(f"--{section}-dir" for section in missing),
        )
    with atomic.os_errors_at(targets.backups):
        backups = targets.backups.absolute().resolve()
        return {
            section: Exchange(
                targets.folders[section].absolute().resolve(),
                backups / f"{section}-{now:%Y%m%dT%H%M%SZ}",
            )
            for section in sections
        }


def _build(
    source: Path,
    manifest: ReleaseManifest,
    exchanges: Mapping[Section, Exchange],
    progress: Progress,
) -> None:
    """Fill the new folders. Everything is verified again: the source may not be what it was."""
    with progress.phase("install", sum(a.size for a in manifest.artifacts), "bytes") as advance:

        @contextlib.contextmanager
        def take(artifact: ReleaseFile) -> Iterator[IO[bytes]]:
            path = exchanges[artifact.section].new / artifact.inside
            with atomic.os_errors_at(path):
                beneath.make_folders(path.parent)
                with beneath.writing(path, new=True) as stream:
                    yield stream
                beneath.set_mode(path, 0o644)
            advance(artifact.size)

        again = read_release(source, Trust(), take).manifest
    for exchange in exchanges.values():
        for path in (exchange.new, *(path for path, e in walk(exchange.new) if e.is_dir())):
            with atomic.os_errors_at(path):
                beneath.set_mode(
                    path, 0o755
                )  # whatever the umask, whoever runs the strategies reads them
    if again != manifest:
        raise IntegrityError("the release changed while it was installed", where=source)


def _removed(manifest: ReleaseManifest, exchanges: Mapping[Section, Exchange]) -> tuple[str, ...]:
    kept = {artifact.path for artifact in manifest.artifacts}
    removed: list[str] = []
    for section, exchange in exchanges.items():
        if exchange.target.is_dir():
            removed += [
                f"{section}/{path.relative_to(exchange.target).as_posix()}"
                for path, entry in walk(exchange.target)
                if not entry.is_dir(follow_symlinks=False)
            ]
    return tuple(sorted(path for path in removed if path not in kept))
