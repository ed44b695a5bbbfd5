"""The stage: a folder in the destination that its readers pass over, where deliveries wait.

Rules of this module:

- All that takes time happens in the stage. What readers see changes by renaming alone, in the
  order of publishing: packages, then texts, the manifest last, then the removals.
- What is in the stage is never trusted: it is read back, from the disk, before it leaves.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

from repack.channel import manifest
from repack.channel.layout import MANIFEST
from repack.errors import IntegrityError
from repack.fs import atomic
from repack.fs.inventory import intact_paths
from repack.fs.walk import read_or_none, sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from repack.file_entry import FileEntry
    from repack.sync.plan import ReleaseFiles, SyncPlan

STAGE: Final = f"{atomic.TEMP_PREFIX}sync"
# FAT keeps times in steps of 2 s; a client that caches by time must see that a file is new.
_MTIME_STEP: Final = 2.0


class Staging:
    """The stage of the channel folder ``dest``."""

    def __init__(self, dest: Path) -> None:
        self.dest = dest
        self.folder = dest / STAGE

    def staged_bytes(self) -> int:
        """How much an earlier run, which was cut off, left behind to be gone on with."""
        return sum(sizes(self.folder).values()) if self.folder.is_dir() else 0

    def open(self, packages: Collection[str]) -> None:
        """Make the stage; what an earlier run wanted and this one does not goes.

        Raises:
            PlaceError: the destination cannot be written.
        """
        with atomic.os_errors_at(self.dest):
            self.folder.mkdir(parents=True, exist_ok=True)
        for path in sizes(self.folder):
            if path not in packages:
                atomic.remove(self.folder / path)

    def link(self, piece: FileEntry, source: Path) -> bool:
        """Let a package be a file of this volume; False where the volume has no links."""
        target = self.folder / piece.path
        with atomic.os_errors_at(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic.unlink(target)
        try:
            os.link(source, target)
        except OSError:
            return False
        return True

    def write(self, texts: Mapping[str, bytes]) -> None:
        """Write texts. Raises as :func:`repack.fs.atomic.write_new` does."""
        for path, data in texts.items():
            mode = 0o755 if path.endswith(".sh") else 0o644
            atomic.write_new(self.folder / path, data, mode)

    def read_back(self, pieces: Collection[FileEntry], done: Callable[[int], None]) -> None:
        """Make sure that the disk holds ``pieces``.

        Raises:
            IntegrityError: it does not; what is wrong was dropped.
            PlaceError: it went away.
        """
        paths = [self.folder / piece.path for piece in pieces]
        atomic.flush([path for path in paths if path.is_file()])
        _forget(paths)
        good = intact_paths(self.folder, pieces, done)
        bad = [piece for piece in pieces if piece.path not in good]
        for piece in bad:
            atomic.remove(self.folder / piece.path)
        if bad:
            raise IntegrityError(
                "what was written cannot be read back as it was",
                where=self.folder / bad[0].path,
                expected=f"{bad[0].sha256}, {bad[0].size} bytes",
                hint="run again; if it stays, the medium or its connection is bad",
            )

    def leave(self, work: SyncPlan, cargo: ReleaseFiles) -> None:
        """Let everything take its place, in the order of publishing.

        Raises:
            PlaceError: the destination went away; the next run goes on.
        """
        packages = [piece for piece in work.copy if piece.path in cargo.packages]
        texts = [piece for piece in work.copy if piece.path in cargo.texts]
        for piece in texts:
            _age(self.folder / piece.path, self.dest / piece.path)
        for group in (packages, texts):
            for piece in group:
                target = self.dest / piece.path
                with atomic.os_errors_at(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    atomic.rename(self.folder / piece.path, target)
            # Texts must not be on disk before the packages that they name.
            atomic.flush({(self.dest / piece.path).parent for piece in group})

    def close(self, removed: Collection[str], moved_to: Mapping[str, Path]) -> None:
        """Remove what no release needs any more, and the stage.

        Args:
            removed: paths to be removed.
            moved_to: where some of them go instead.

        Raises:
            PlaceError: something cannot be removed.
        """
        for path in removed:
            if (new_place := moved_to.get(path)) is None:
                atomic.remove(self.dest / path)
            else:
                with atomic.os_errors_at(new_place):
                    new_place.parent.mkdir(parents=True, exist_ok=True)
                    atomic.rename(self.dest / path, new_place)
        for folder in {(self.dest / path).parent for path in removed}:
            _remove_empty(self.dest, folder)
        atomic.remove(self.folder)


def label_at(dest: Path) -> str | None:
    """The label whose channel stands at ``dest``; None where no manifest can be read."""
    data = read_or_none(dest / MANIFEST)
    return None if data is None else label_of(data)


def label_of(data: bytes) -> str | None:
    """The label that a manifest is of; None when it is damaged."""
    try:
        return manifest.parse(data, MANIFEST).id
    except IntegrityError:
        return None


def _forget(paths: Iterable[Path]) -> None:
    """Let reading back ask the disk, not the system's memory."""
    if hasattr(os, "posix_fadvise"):
        for path in paths:
            with contextlib.suppress(OSError), path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _age(new: Path, old: Path) -> None:
    """Make a changed file at least two seconds younger than the one it replaces."""
    with atomic.os_errors_at(new):
        try:
            before = old.stat().st_mtime
        except FileNotFoundError:
            return
        moment = max(time.time(), before + _MTIME_STEP)
        os.utime(new, (moment, moment))


def _remove_empty(dest: Path, folder: Path) -> None:
    while dest in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
