"""Upkeep of a store: check every archive, sweep out what nothing needs.

A sweep runs beside builders. It looks at everything first and stops at the first error: what cannot
be read may be what names an archive. It leaves alone

- what a channel or its history names, of every project that was built with the store,
- what any channel holds by a hard link: removing it here would free nothing,
- what was made or used within the grace time: a builder may be about to link it,
- a partial file or an extracted package that somebody holds the lock of.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from repack.errors import IntegrityError
from repack.fs import atomic, beneath, locks
from repack.progress import SILENT
from repack.store.derived import read_derived
from repack.store.listing import list_folder
from repack.store.partial import VALIDATOR, last_touched
from repack.store.store import StoreEntry, files_in
from repack.store.unpacked import drop_changed

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
    """What a full check found; what was ``damaged`` is not in the store any more.

    Attributes:
        unpacked: unpacked packages that were not what their archives hold; they are gone as well.
    """

    files: int
    bytes: int
    damaged: tuple[StoreEntry, ...]
    unpacked: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, or that of an integrity error."""
        return IntegrityError.exit_code if self.damaged or self.unpacked else 0

    def to_json(self) -> dict[str, object]:
        """What ``repack store verify --json`` prints."""
        damaged = [entry.to_json() for entry in self.damaged]
        return {
            "files": self.files,
            "bytes": self.bytes,
            "damaged": damaged,
            "unpacked": list(self.unpacked),
        }


class Removal(Struct, frozen=True):
    """One thing that nothing needs.

    Attributes:
        path: a file, or the folder of an extracted package.
        kind: what it is, for people.
        size: in bytes.
    """

    path: Path
    kind: Literal["package", "download", "unpacked"]
    size: int

    def to_json(self) -> dict[str, object]:
        """The row ``repack store gc --json`` prints."""
        return {"path": str(self.path), "kind": self.kind, "bytes": self.size}


class GcResult(Struct, frozen=True):
    """What a sweep removed, or would remove, and how many archives it left."""

    removals: tuple[Removal, ...]
    kept: int

    @property
    def files(self) -> int:
        """How many files and folders go."""
        return len(self.removals)

    @property
    def bytes(self) -> int:
        """How much space they take."""
        return sum(removal.size for removal in self.removals)

    def to_json(self) -> dict[str, object]:
        """What ``repack store gc --json`` prints."""
        return {
            "files": self.files,
            "bytes": self.bytes,
            "kept": self.kept,
            "removed": [removal.to_json() for removal in self.removals],
        }


def verify(store: Store, progress: Progress = SILENT) -> StoreVerdict:
    """Hash every archive again, whatever its stamp says, and drop what is damaged.

    Unpacked copies are compared with their archives.

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
    unpacked = drop_changed(store)
    return StoreVerdict(files=len(entries), bytes=total, damaged=damaged, unpacked=unpacked)


def plan_sweep(store: Store, keep: Collection[Digest], grace: float = DAY) -> GcResult:
    """Say what is not in ``keep`` and was not used for ``grace`` seconds; nothing is removed.

    Raises:
        PlaceError: a folder or file cannot be looked at, so nobody can say what is needed.
    """
    before = time.time() - grace
    removals = [
        *_unneeded_archives(store, keep, before),
        *_abandoned_partials(store, before),
        *_unneeded_extracted(store, keep, before),
    ]
    gone = {removal.path for removal in removals}
    return GcResult(
        tuple(removals), sum(store.path(entry.sha256) not in gone for entry in store.list())
    )


def sweep(
    store: Store, keep: Collection[Digest], grace: float = DAY, plan: GcResult | None = None
) -> GcResult:
    """Remove what :func:`plan_sweep` says, unless it came into use since.

    Raises:
        PlaceError: the store cannot be read or written.
    """
    before = time.time() - grace
    plan = plan_sweep(store, keep, grace) if plan is None else plan
    act = {"package": _remove_archive, "download": _remove_partial, "unpacked": _remove_extracted}
    removed = tuple(r for r in plan.removals if act[r.kind](store, r.path, before))
    for path in list_folder(store.partials):
        if path.name.startswith(_TRASH):
            atomic.remove(path)
        elif path.name.endswith(VALIDATOR) and not _download_of(path).exists():
            atomic.unlink(path)
    left = {entry.sha256 for entry in store.list()}
    for path in files_in(store.root / "facts"):
        if path.stem not in left and _old(path, before):
            atomic.unlink(path)
    _sweep_made(store, left, before)
    return GcResult(removed, len(left))


def _download_of(validator: Path) -> Path:
    return validator.with_name(validator.name.removesuffix(VALIDATOR))


def _old(path: Path, before: float) -> bool:
    """Whether a file was last changed, renamed, linked, unlinked or marked before a moment."""
    try:
        return last_touched(beneath.status(path)) <= before
    except FileNotFoundError:
        return False


def _unneeded_archives(store: Store, keep: Collection[Digest], before: float) -> Iterator[Removal]:
    for path in files_in(store.packages):
        if path.name not in keep and (size := _size_unused(path, before)) is not None:
            yield Removal(path, "package", size)


def _size_unused(path: Path, before: float) -> int | None:
    """The size of an archive that no channel links and nobody used since ``before``, else None."""
    with atomic.os_errors_at(path):
        try:
            status = beneath.status(path)
        except FileNotFoundError:
            return None
    return status.st_size if status.st_nlink == 1 and last_touched(status) <= before else None


def _remove_archive(_store: Store, path: Path, before: float) -> bool:
    if _size_unused(path, before) is None:
        return False
    with atomic.os_errors_at(path):
        atomic.unlink(path)
    return True


def _abandoned_partials(store: Store, before: float) -> Iterator[Removal]:
    """Partial downloads that nobody goes on with."""
    for path in list_folder(store.partials):
        if not path.name.startswith(_TRASH) and not path.name.endswith(VALIDATOR):
            with atomic.os_errors_at(path), contextlib.suppress(FileNotFoundError):
                status = beneath.status(path)
                if last_touched(status) <= before:
                    yield Removal(path, "download", status.st_size)


def _remove_partial(_store: Store, path: Path, before: float) -> bool:
    if not _old(path, before):
        return False
    with atomic.os_errors_at(path), beneath.reading(path) as stream:
        if not locks.try_lock(stream):
            return False
        if not _HOLDS_NAMES:
            atomic.unlink(path)
    if _HOLDS_NAMES:
        atomic.remove(path)
    return True


def _sweep_made(store: Store, left: Collection[Digest], before: float) -> None:
    """Notes of archives that are gone, and what a killed builder left half-made."""
    for path in files_in(store.root / "made"):
        if not _old(path, before):
            continue
        if beneath.is_folder(path):
            atomic.remove(path)
        elif (made := read_derived(path)) is None or made.sha256 not in left:
            atomic.unlink(path)


def _unneeded_extracted(store: Store, keep: Collection[Digest], before: float) -> Iterator[Removal]:
    """Extracted packages whose archives nothing names."""
    for lock in list_folder(store.package_cache):
        folder = lock.with_name(lock.name.removesuffix(".lock"))
        if lock.suffix != ".lock" or not _old(lock, before) or not beneath.is_folder(folder):
            continue
        with atomic.os_errors_at(lock), beneath.reading(lock) as stream:
            try:
                content = stream.read(_LOCK_SIZE + 1)
            except PermissionError:  # on Windows a lock keeps readers out as well
                continue
        if len(content) == _LOCK_SIZE and content[_LOCK_DIGEST:].hex() not in keep:
            yield Removal(folder, "unpacked", _size_below(folder))


def _size_below(folder: Path) -> int:
    size = 0
    for path in list_folder(folder):
        with atomic.os_errors_at(path):
            status = beneath.status(path)
        if stat.S_ISDIR(status.st_mode):
            size += _size_below(path)
        elif stat.S_ISREG(status.st_mode):
            size += status.st_size
    return size


def _remove_extracted(store: Store, folder: Path, before: float) -> bool:
    lock = folder.with_name(f"{folder.name}.lock")
    if not _old(lock, before):
        return False
    with atomic.os_errors_at(lock), beneath.reading(lock) as stream:
        if not locks.try_lock(stream):
            return False
        # Out of sight in one step: a half-removed package must never be taken for a whole one.
        trash = store.partials / f"{_TRASH}{os.getpid()}-{folder.name}"
        beneath.make_folders(trash.parent)
        beneath.rename(folder, trash)
        if not _HOLDS_NAMES:
            atomic.unlink(lock)
    if _HOLDS_NAMES:
        atomic.remove(lock)
    atomic.remove(trash)
    return True
