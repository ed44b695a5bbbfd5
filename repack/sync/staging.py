"""The stage: a folder in the destination that its readers pass over, where files wait.

Rules of this module:

- All that takes time happens in the stage. What readers see changes by renaming alone.
- What is in the stage is never trusted: it is read back, from the disk, before it leaves.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from repack.channel.publishing import FolderStorage, publish_in_order, write_texts
from repack.errors import BusyError, IntegrityError, PlaceError, RepackError
from repack.fs import atomic, beneath, locks
from repack.fs.inventory import intact_paths
from repack.fs.walk import entries, sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from repack.file_entry import FileEntry
    from repack.names import RelPath
    from repack.progress import Progress
    from repack.sync.plan import SyncPlan

STAGE: Final = f"{atomic.TEMP_PREFIX}sync"
LOCK: Final = f"{atomic.TEMP_PREFIX}lock"
# An attempt itself takes nearly a second: an hour for what another sync copies
_ATTEMPTS: Final = 2000
_PAUSE: Final = 1.0
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class Staging:
    """The stage of the channel folder ``dest``."""

    def __init__(self, dest: Path) -> None:
        self.dest = beneath.guard(dest)
        self.folder = dest / STAGE

    @contextlib.contextmanager
    def alone(self, progress: Progress) -> Iterator[None]:
        """Wait until nobody else syncs to the destination, and let nobody while the block runs.

        Several machines may bring releases to one share. Its server tells them of each other's
        locks; where a file system has none, each goes ahead.

        Raises:
            BusyError: another sync has not ended in an hour.
            PlaceError: the destination cannot be written.
        """
        path = self.dest / LOCK
        with contextlib.ExitStack() as stack:
            for attempt in itertools.count():
                try:
                    lock = locks.exclusive(
                        path, "a sync to this folder", shared=True, fleeting=True
                    )
                    stack.enter_context(lock)
                    break
                except BusyError as error:
                    if attempt == _ATTEMPTS:
                        raise
                    if attempt == 0:
                        progress.note(f"{error.text()}; waiting")
                    time.sleep(_PAUSE)
                except PlaceError as error:
                    if getattr(error.__cause__, "errno", None) not in _NO_LOCKS:
                        raise
                    atomic.remove(path)
                    break
            yield
        if sys.platform == "win32":  # where it cannot be removed while it is open
            with contextlib.suppress(RepackError):
                atomic.remove(path)

    def staged_bytes(self) -> int:
        """Bytes that an earlier run, which was cut off, left here to be continued with."""
        with atomic.os_errors_at(self.folder):
            is_there = beneath.exists(self.folder)
        return sum(sizes(self.folder).values()) if is_there else 0

    def open(self, packages: Collection[str]) -> None:
        """Make the stage; what an earlier run left and this one does not need is removed.

        Raises:
            PlaceError: the destination cannot be written.
        """
        with atomic.os_errors_at(self.dest):
            beneath.make_folders(self.folder)
        for path, entry in entries(self.folder):
            if path not in packages or entry.kind != "file":
                atomic.remove(self.folder / path)

    def link(self, entry: FileEntry, source: Path) -> bool:
        """Let a package be a file of this volume; False where the volume has no links."""
        target = self.folder / entry.path
        with atomic.os_errors_at(target):
            beneath.make_folders(target.parent)
            atomic.unlink(target)
        try:
            beneath.link(source, target)
        except OSError:
            return False
        return True

    def write(self, texts: Mapping[RelPath, bytes]) -> None:
        """Write texts. Raises as :func:`repack.channel.publishing.write_texts` does."""
        write_texts(self.folder, texts)

    def read_back(self, listed: Collection[FileEntry], advance: Callable[[int], None]) -> None:
        """Make sure that the disk holds ``listed``.

        Raises:
            IntegrityError: it does not; what is wrong was removed.
            PlaceError: it went away.
        """
        paths = [self.folder / entry.path for entry in listed]
        # Written pages must reach the disk before they can be dropped from memory, and they must
        # be dropped, or reading back would show what was written and not what the disk has.
        atomic.flush([path for path in paths if beneath.is_file(path)])
        _drop_from_memory(paths)
        intact = intact_paths(self.folder, listed, advance)
        damaged = [entry for entry in listed if entry.path not in intact]
        for entry in damaged:
            atomic.remove(self.folder / entry.path)
        if damaged:
            raise IntegrityError(
                "what was written cannot be read back as it was",
                where=self.folder / damaged[0].path,
                expected=f"{damaged[0].sha256}, {damaged[0].size} bytes",
                hint="run again; if it stays, the medium or its connection is bad",
            )

    def publish(
        self, plan: SyncPlan, moved_to: Mapping[str, Path], before_removal: Callable[[], None]
    ) -> None:
        """Let everything take its place, and remove what no release needs any more.

        Args:
            moved_to: where some of the removed files go instead.
            before_removal: waits for readers of the release before.

        Raises:
            PlaceError: the destination went away; the next run continues.
        """
        storage = FolderStorage(self.folder, self.dest, moved_to)
        packages, texts = ([entry.path for entry in part] for part in (plan.packages, plan.texts))
        publish_in_order(storage, packages, texts, plan.remove, before_removal)
        atomic.remove(self.folder)


def _drop_from_memory(paths: Iterable[Path]) -> None:
    """Let the next read ask the disk, not the system's page cache."""
    if hasattr(os, "posix_fadvise"):
        for path in paths:
            with contextlib.suppress(OSError), beneath.reading(path) as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
