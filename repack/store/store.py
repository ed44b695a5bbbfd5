"""The store: every archive once, by its SHA-256, shared by all labels and builders.

```
packages/ab/<sha256>      archives; a channel's files are hard links to them
partial/<sha256>          on their way, see :mod:`repack.store.partial`
facts/ab/<sha256>.json    facts read from an archive
made/ab/<sha256>.*.json   which archive was made from it in another format; that is in packages/, too
pkgs/                     extracted packages, as rattler keeps them
roots/<sha256>.json       channels that were built with the store, see :mod:`repack.store.roots`
records/NAME.json         upstream's own records for the lock of a label
scratch/KEY/              where a label is packed and tried
damaged/<sha256>          empty; says that the archive was found damaged once, and was dropped
reads/KEY                 how many builds of a label believed the times of its archives
repodata/                 upstream's repodata; 0700, because its URLs may hold tokens
```

Rules of this module:

- A file gets its name when its bytes were hashed, never before. Its mtime marks that (see
  :func:`repack.store.partial.verified_mtime`): with the right size and mtime it is as it was hashed.
  Anything else is hashed again, and dropped if it is wrong.
- There is no lock on the store. A file is made under the lock of its partial, and removed only
  when nothing names it, no channel links it, and nobody has used it for a while.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from repack.errors import IntegrityError
from repack.fs import atomic, beneath, digests
from repack.names import Digest
from repack.store.listing import list_folder
from repack.store.partial import Partial, last_touched, mark_verified, verified_mtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from repack.conda.record import Record
    from repack.store.references import Usage

# How long a file that is used without being linked may look unused.
_USE_NOTED_EVERY: Final = 3_600.0
_WAIT: Final = 0.02
_DIGEST_LENGTH: Final = 64


class StoreEntry(Struct, frozen=True):
    """One archive of the store; ``links`` counts the channels' hard links to it."""

    sha256: Digest
    size: int
    links: int

    def to_json(self, use: Usage | None = None) -> dict[str, Any]:
        """The row ``repack store list --json`` prints."""
        return {
            "sha256": self.sha256,
            "size": self.size,
            "links": self.links,
            "fn": use.fn if use else None,
            "labels": list(use.labels) if use else [],
        }


def _nobody() -> bool:
    return False


class Store:
    """The folder ``root`` as a store. Nothing is made there until something is written.

    Args:
        root: may lie on another file system than the channels; files are copied then.
    """

    def __init__(self, root: Path) -> None:
        self.root = beneath.guard(root.absolute())
        self.packages = self.root / "packages"
        self.partials = self.root / "partial"

    def path(self, sha256: Digest) -> Path:
        """Where the archive is, or would be."""
        return self.packages / sha256[:2] / sha256

    def facts_path(self, sha256: Digest) -> Path:
        """Where what was found out about the archive is, or would be."""
        return self.root / "facts" / sha256[:2] / f"{sha256}.json"

    def derived_path(self, sha256: Digest, recipe: str) -> Path:
        """Where it is noted which archive ``recipe`` makes of this one, or would be."""
        return self.root / "made" / sha256[:2] / f"{sha256}.{recipe}.json"

    @contextlib.contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """A folder to make archives in, on the store's file system; removed in the end.

        Raises:
            SpaceError: the disk is full.
            PlaceError: the store cannot be written.
        """
        folder = self.root / "made" / "making"
        with atomic.os_errors_at(folder):
            own = folder / f"{atomic.TEMP_PREFIX}{secrets.token_hex(8)}"
            beneath.make_folders(own, 0o700)
        try:
            yield own
        finally:
            atomic.remove(own)

    @property
    def package_cache(self) -> Path:
        """The folder of extracted packages that all labels share."""
        return self.root / "pkgs"

    def records_path(self, label: str) -> Path:
        """Where the records are that upstream published for a label's lock."""
        return self.root / "records" / f"{label}.json"

    def scratch(self, key: str) -> Path:
        """A folder for one build alone, on the package cache's file system."""
        return self.root / "scratch" / key

    @property
    def repodata_cache(self) -> Path:
        """The folder of upstream's repodata; made here because nobody else may look into it.

        Raises:
            PlaceError: it cannot be made.
        """
        folder = self.root / "repodata"
        with atomic.os_errors_at(folder):
            beneath.make_folders(folder, 0o700)
            if sys.platform != "win32" and beneath.status(folder).st_mode & 0o077:
                beneath.set_mode(folder, 0o700)
        return folder

    def is_marked(self, sha256: Digest, size: int) -> bool:
        """Whether the archive is there, of that size and unchanged since it was hashed.

        Raises:
            PlaceError: the store cannot be read.
        """
        path = self.path(sha256)
        with atomic.os_errors_at(path):
            try:
                status = beneath.status(path)
            except FileNotFoundError:
                return False
            if (status.st_size, status.st_mtime_ns) != (size, verified_mtime(sha256)):
                return False
            if status.st_nlink == 1 and time.time() - last_touched(status) > _USE_NOTED_EVERY:
                # No channel holds it: tell a sweep that it is in use, by its change time.
                with contextlib.suppress(PermissionError):
                    mark_verified(path, sha256, read_at=time.time_ns())
            return True

    def contains(self, sha256: Digest, size: int) -> bool:
        """Whether the archive is there and right; hashed again if it may have changed.

        A file that is wrong is dropped, so that it is fetched again.

        Raises:
            PlaceError: the store cannot be read.
        """
        return self.is_marked(sha256, size) or self.verify(sha256) == size

    def contains_record(self, record: Record) -> bool:
        """Whether the store :meth:`contains` the archive of ``record``."""
        return self.contains(record.sha256, record.size)

    def verify(self, sha256: Digest) -> int | None:
        """Hash the archive; its size if it is right, else None, and it is dropped.

        Raises:
            PlaceError: the store cannot be read.
        """
        path = self.path(sha256)
        with atomic.os_errors_at(path):
            try:
                stream = beneath.reading(path)
            except FileNotFoundError:
                return None
            with stream:
                before = os.fstat(stream.fileno())
                got, size = digests.digest_stream(stream)
                after = os.fstat(stream.fileno())
            # Another builder may have marked it meanwhile.
            if got == sha256 and after.st_mtime_ns in {before.st_mtime_ns, verified_mtime(sha256)}:
                if after.st_mtime_ns != verified_mtime(sha256):
                    # Somebody else's file in a shared store is right all the same.
                    with contextlib.suppress(PermissionError):
                        atomic.flush([path])
                        mark_verified(path, sha256)
                return size
            # Another builder may have put a good one there meanwhile.
            if os.path.samestat(beneath.status(path), after):
                # Channels may hold the same bytes by hard links: their next builds look for it.
                atomic.write_cached(self._damaged / sha256, b"")
                atomic.unlink(path)
        return None

    @property
    def _damaged(self) -> Path:
        return self.root / "damaged"

    def damaged(self) -> frozenset[Digest]:
        """What was ever found damaged here and dropped; it may be whole again.

        Raises:
            PlaceError: the store cannot be read.
        """
        names = (path.name for path in list_folder(self._damaged))
        return frozenset(Digest(name) for name in names if len(name) == _DIGEST_LENGTH)

    @contextlib.contextmanager
    def receiving(
        self, record: Record, stopped: Callable[[], bool] = _nobody
    ) -> Iterator[Partial | None]:
        """The partial file of ``record``, to be filled; :meth:`Partial.commit` is :meth:`commit`'s.

        Waits while another builder fills it. None when the archive is there by then, or when
        ``stopped()`` says that nobody waits for it any more.

        Raises:
            SpaceError: the disk is full.
            PlaceError: the store cannot be written.
        """
        partial = self._lock(record.sha256, record.size, stopped)
        if partial is None:
            yield None
            return
        try:
            if self.contains_record(record):
                partial.drop()
                yield None
            else:
                yield partial
        finally:
            partial.close()

    def _lock(self, sha256: Digest, size: int, stopped: Callable[[], bool]) -> Partial | None:
        if not beneath.is_folder(self.partials):
            self.prepare()
        while (partial := Partial.opened(self.partials / sha256, sha256, size)) is None:
            if stopped():
                return None
            time.sleep(_WAIT)
        return partial

    def commit(self, partial: Partial, *, flush: bool = True) -> Path:
        """Take in a partial file that is complete.

        Args:
            flush: if not, :meth:`flush` must follow.

        Raises:
            IntegrityError: it is not what it shall be.
            SpaceError: the disk is full.
            PlaceError: the store cannot be written.
        """
        target = self.path(partial.sha256)
        partial.commit(target, flush=flush)
        return target

    def flush(self, sha256: Digest) -> None:
        """Flush an archive that was just hashed, and mark it as that.

        Raises:
            SpaceError: the disk is full.
            PlaceError: the system cannot.
        """
        path = self.path(sha256)
        with atomic.os_errors_at(path), beneath.reading(path) as stream:
            os.fsync(stream.fileno())
            mark_verified(path, sha256)

    def add(
        self,
        source: Path,
        sha256: Digest | None = None,
        how: Literal["copy", "move"] = "copy",
    ) -> Path:
        """Take in a file of this machine and return its path in the store.

        A copy is hashed as it is made: the store never shares bytes with a file that somebody may
        write to. ``move`` is for files that repack itself has made.

        Raises:
            IntegrityError: the file is not ``sha256``.
            SpaceError: the disk is full.
            PlaceError: the file cannot be read or the store not written.
        """
        got, size = digests.digest(source)
        if sha256 not in {None, got}:
            raise IntegrityError("the SHA-256 is another", where=source, expected=sha256, got=got)
        target = self.path(got)
        partial = self._lock(got, size, _nobody)
        assert partial is not None  # noqa: S101 - nobody stops it
        try:
            if self.verify(got) != size:
                self._fill(partial, source)
                partial.commit(target)
            else:
                partial.drop()
        except IntegrityError as error:
            raise IntegrityError("the file changes while it is read", where=source) from error
        finally:
            partial.close()
        if how == "move":
            atomic.remove(source)
        return target

    def _fill(self, partial: Partial, source: Path) -> None:
        partial.restart()
        buffer = memoryview(bytearray(atomic.CHUNK))
        with atomic.os_errors_at(source), beneath.reading(source, 0) as stream:
            while count := stream.readinto(buffer):
                partial.write(buffer[:count])

    def prepare(self) -> int:
        """Make the store's folders, and return how many bytes are free there.

        Raises:
            PlaceError: they cannot be made.
        """
        with atomic.os_errors_at(self.root):
            beneath.make_folders(self.partials)
            if not beneath.is_folder(self.packages):
                # All at once: eight threads that each make one wait for each other.
                for shard in range(256):
                    beneath.make_folders(self.packages / f"{shard:02x}")
            return shutil.disk_usage(self.root).free

    def partial_size(self, sha256: Digest) -> int:
        """Bytes of the archive that an earlier run left."""
        with contextlib.suppress(OSError):
            return beneath.status(self.partials / sha256).st_size
        return 0

    def list(self) -> tuple[StoreEntry, ...]:
        """Every archive, sorted by digest.

        Raises:
            PlaceError: the store cannot be read.
        """
        return tuple(sorted(self._entries(), key=lambda entry: entry.sha256))

    def _entries(self) -> Iterator[StoreEntry]:
        for path in files_in(self.packages):
            with atomic.os_errors_at(path), contextlib.suppress(IntegrityError, FileNotFoundError):
                sha256, status = Digest(path.name), beneath.status(path)
                yield StoreEntry(sha256, status.st_size, status.st_nlink - 1)


def files_in(folder: Path) -> Iterator[Path]:
    """The files two levels down; none when there is no such folder.

    Raises:
        PlaceError: a folder cannot be read.
    """
    for shard in list_folder(folder):
        if shard.is_dir():
            yield from list_folder(shard)
