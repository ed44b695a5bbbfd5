"""Upkeep of a store: check every archive, sweep out what nothing needs.

A sweep runs beside builders. It leaves alone

- what a channel or its history names,
- what any channel holds by a hard link: removing it here would free nothing,
- what was made or used within the grace time: a builder may be about to link it,
- a partial file or an extracted package that somebody holds the lock of.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.errors import IntegrityError
from repack.fs import atomic, locks
from repack.progress import SILENT
from repack.store.derived import read_derived
from repack.store.partial import VALIDATOR, last_touched
from repack.store.store import StoreEntry, files_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from repack.names import Digest
    from repack.progress import Progress
    from repack.store.store import Store

DAY: Final = 86_400.0
_TRASH: Final = ".trash-"
# rattler's lock file of an extracted package: a counter of 8 bytes, then the archive's SHA-256.
_LOCK_SIZE: Final = 40
_LOCK_DIGEST: Final = 8
# Windows removes no open file; there it goes a moment after its lock, which is the best there is.
_HOLDS_NAMES: Final = sys.platform == "win32"


class StoreVerdict(Struct, frozen=True):
    """What a full check found; what was ``damaged`` is not in the store any more."""

    files: int
    bytes: int
    damaged: tuple[StoreEntry, ...]

    @property
    def exit_code(self) -> int:
        """0, or that of an integrity error."""
        return IntegrityError.exit_code if self.damaged else 0

    def to_json(self) -> dict[str, object]:
        """What ``repack store verify --json`` prints."""
        damaged = [entry.to_json() for entry in self.damaged]
        return {"files": self.files, "bytes": self.bytes, "damaged": damaged}


class GcResult(Struct, frozen=True):
    """What a sweep removed, and how many archives it left."""

    files: int
    bytes: int
    kept: int

    def to_json(self) -> dict[str, int]:
        """What ``repack store gc --json`` prints."""
        return {"files": self.files, "bytes": self.bytes, "kept": self.kept}


def verify(store: Store, progress: Progress = SILENT) -> StoreVerdict:
    """Hash every archive again, whatever its stamp says, and drop what is damaged.

    Raises:
        PlaceError: the store cannot be read.
    """
    entries = store.list()
    total = sum(entry.size for entry in entries)
    with progress.phase("check", total, "bytes") as done, ThreadPoolExecutor() as pool:

        def check(entry: StoreEntry) -> bool:
            right = store.verify(entry.sha256) is not None
            done(entry.size)
            return right

        verdicts = list(pool.map(check, entries))
    damaged = tuple(entry for entry, right in zip(entries, verdicts, strict=True) if not right)
    return StoreVerdict(files=len(entries), bytes=total, damaged=damaged)


def sweep(store: Store, keep: Collection[Digest], grace: float = DAY) -> GcResult:
    """Remove what is not in ``keep`` and was not used for ``grace`` seconds.

    Raises:
        PlaceError: the store cannot be read or written.
    """
    before = time.time() - grace
    freed = [
        *_sweep_archives(store, keep, before),
        *_sweep_partials(store, before),
        *_sweep_extracted(store, keep, before),
    ]
    left = {entry.sha256 for entry in store.list()}
    for path in files_in(store.root / "facts"):
        if path.stem not in left and _old(path, before):
            atomic.unlink(path)
    _sweep_made(store, left, before)
    return GcResult(files=len(freed), bytes=sum(freed), kept=len(left))


def _old(path: Path, before: float) -> bool:
    """Whether a file was last changed, renamed, linked, unlinked or marked before a moment."""
    try:
        return last_touched(path.stat()) <= before
    except FileNotFoundError:
        return False


def _sweep_archives(store: Store, keep: Collection[Digest], before: float) -> Iterator[int]:
    for path in files_in(store.packages):
        if path.name not in keep:
            with atomic.os_errors_at(path), contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if status.st_nlink == 1 and last_touched(status) <= before:
                    atomic.unlink(path)
                    yield status.st_size


def _sweep_partials(store: Store, before: float) -> Iterator[int]:
    """Partial downloads that nobody goes on with, and what a killed sweep left."""
    folder = store.partials
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(_TRASH):
            atomic.remove(path)
        elif path.name.endswith(VALIDATOR):
            if not path.with_name(path.name.removesuffix(VALIDATOR)).exists():
                atomic.unlink(path)
        elif _old(path, before):
            with atomic.os_errors_at(path), path.open("rb") as stream:
                if not locks.try_lock(stream):
                    continue
                size = os.fstat(stream.fileno()).st_size
                if not _HOLDS_NAMES:
                    atomic.unlink(path)
            if _HOLDS_NAMES:
                atomic.remove(path)
            yield size


def _sweep_made(store: Store, left: Collection[Digest], before: float) -> None:
    """Notes of archives that are gone, and what a killed builder left half-made."""
    for path in files_in(store.root / "made"):
        if not _old(path, before):
            continue
        if path.is_dir():
            atomic.remove(path)
        elif (made := read_derived(path)) is None or made.sha256 not in left:
            atomic.unlink(path)


def _sweep_extracted(store: Store, keep: Collection[Digest], before: float) -> Iterator[int]:
    """Extracted packages whose archives nothing names."""
    cache = store.package_cache
    for lock in sorted(cache.glob("*.lock")) if cache.is_dir() else ():
        folder = lock.with_name(lock.name.removesuffix(".lock"))
        if not _old(lock, before) or not folder.is_dir():
            continue
        with atomic.os_errors_at(lock), lock.open("rb") as stream:
            try:
                content = stream.read(_LOCK_SIZE + 1)
            except PermissionError:  # on Windows a lock keeps readers out as well
                continue
            if len(content) != _LOCK_SIZE or content[_LOCK_DIGEST:].hex() in keep:
                continue
            if not locks.try_lock(stream):
                continue
            # Out of sight in one step: a half-removed package must never be taken for a whole one.
            trash = store.partials / f"{_TRASH}{os.getpid()}-{folder.name}"
            trash.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(trash)
            if not _HOLDS_NAMES:
                atomic.unlink(lock)
        if _HOLDS_NAMES:
            atomic.remove(lock)
        size = sum(p.stat().st_size for p in trash.rglob("*") if p.is_file() and not p.is_symlink())
        atomic.remove(trash)
        yield size
