"""The only writer.

Every file that must not be half there is written beside its place, flushed to disk and renamed
(restic's ``local.Save``). Every read of outside data is bounded. Every ``OSError`` becomes one of
repack's errors here, with the path in it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final, Literal

from repack.errors import BusyError, IntegrityError, PlaceError, RepackError, SpaceError
from repack.names import Digest
from repack.urls import channel_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CHUNK: Final = 1 << 20
TEMP_PREFIX: Final = ".repack-"
NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINK: Final = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES}
_LOCK_RETRIES: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
# wine's C library gives no reason: 0
_LOCKED: Final = {errno.EAGAIN, errno.EACCES, errno.EDEADLK, 0}
_NO_MODES: Final = {errno.ENOSYS, errno.ENOTSUP}
_FICLONE: Final = 0x40049409
_BUSY_RETRIES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)

Placed = Literal["kept", "link", "reflink", "copy"]


def fault(error: OSError, path: Path) -> RepackError:
    """The repack error for an ``OSError`` at ``path``."""
    if error.errno in NO_SPACE:
        return SpaceError("no space left", where=path, hint="free some space and run again")
    hint = None
    if sys.platform == "win32" and isinstance(error, PermissionError):
        hint = "if nobody has it open, a virus scanner may hold it"
    return PlaceError((error.strerror or str(error)).lower(), where=path, hint=hint)


@contextlib.contextmanager
def faults_at(path: Path) -> Iterator[None]:
    """Turn any ``OSError`` inside into repack's error about ``path``.

    Raises:
        SpaceError: the disk is full.
        PlaceError: anything else.
    """
    try:
        yield
    except OSError as error:
        raise fault(error, path) from error


def rename(source: Path, target: Path) -> None:
    """Replace ``target`` by ``source`` atomically; on Windows retried while a scanner holds it."""
    for pause in _BUSY_RETRIES if sys.platform == "win32" else ():
        try:
            source.replace(target)
        except PermissionError:
            if not _freed(target):
                time.sleep(pause)
        else:
            return
    source.replace(target)


def _freed(path: Path) -> bool:
    """Whether a file was read-only and is not any more: Windows replaces and removes none that is.

    The attribute is the file's, so its other names, in the store or a channel, lose it as well.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_mode & stat.S_IWRITE:
            return False
        path.chmod(stat.S_IWRITE | stat.S_IREAD)
    except OSError:
        return False
    return True


def _set_mode(path: Path, mode: int) -> None:
    """Set a file's mode, where the file system has modes: FAT through FUSE may say it has none."""
    try:
        path.chmod(mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a file beside ``path`` that takes its place when the block ends well.

    Raises:
        SpaceError: the disk is full; ``path`` is as it was.
        PlaceError: the folder cannot be written; ``path`` is as it was.
    """
    with faults_at(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=path.parent)
        temp = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            _set_mode(temp, mode)
            rename(temp, path)
            sync_folder(path.parent)
        except BaseException:
            unlink(temp)
            raise


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` to ``path``, all or nothing. Raises as :func:`writing` does."""
    with writing(path, mode) as stream:
        stream.write(data)


def write_cached(path: Path, data: bytes) -> None:
    """Write what can be computed again, in place: there are many, and nothing is lost with one.

    A crash may cut the file off, so whoever reads it checks it. Raises as :func:`writing` does.
    """
    with faults_at(path):
        try:
            path.write_bytes(data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file nobody reads yet, as in a folder being staged; :func:`flush` makes it last.

    Raises as :func:`writing` does, but may leave half a file.
    """
    with faults_at(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        _set_mode(path, mode)


def flush(paths: Iterable[Path]) -> None:
    """Make files and folders survive a power cut, where the system can; several at once.

    Raises:
        SpaceError: the disk is full.
        PlaceError: the system cannot.
    """
    if sys.platform != "win32":
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(_flush_one, paths):
                continue


def _flush_one(path: Path) -> None:
    with faults_at(path):
        sync_folder(path)


def read(path: Path, limit: int) -> bytes:
    """Read a whole file of at most ``limit`` bytes.

    Raises:
        IntegrityError: it is longer.
        PlaceError: it cannot be read.
    """
    with faults_at(path), path.open("rb") as stream:
        # read() sets aside as much as it is asked for: ask for what is there. Pipes and the
        # system's own files say 0 and have more.
        size = os.fstat(stream.fileno()).st_size or limit
        data = stream.read(min(limit, size) + 1)
    if len(data) > limit:
        raise IntegrityError("file is too large", where=path, expected=f"at most {limit} bytes")
    return data


def digest(path: Path) -> tuple[Digest, int]:
    """SHA-256 and size in bytes of a file."""
    with faults_at(path), path.open("rb") as stream:
        return digest_stream(stream)


def digest_stream(stream: IO[bytes]) -> tuple[Digest, int]:
    """SHA-256 and size in bytes of what is left in ``stream``."""
    sha, size, buffer = hashlib.sha256(), 0, bytearray(CHUNK)
    view = memoryview(buffer)
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]
        sha.update(view[:count])
        size += count
    return Digest(sha.hexdigest()), size


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            return False
    return True


def can_link(folder: Path) -> bool:
    """Whether a file in ``folder`` can have two names; FAT and some shares cannot do that.

    Raises:
        SpaceError: the disk is full.
        PlaceError: the folder cannot be written.
    """
    with faults_at(folder), tempfile.TemporaryDirectory(prefix=TEMP_PREFIX, dir=folder) as inside:
        one, other = Path(inside) / "one", Path(inside) / "other"
        one.touch()
        try:
            other.hardlink_to(one)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        return True


def place(source: Path, target: Path) -> Placed:
    """Let ``target`` be the file ``source``: hard link, else reflink, else copy.

    ``target`` appears whole or not at all. A ``target`` that already is that very file is kept.

    Raises:
        SpaceError: the disk is full.
        PlaceError: anything else the system refuses.
    """
    with faults_at(target):
        with contextlib.suppress(FileNotFoundError):
            if target.samefile(source):
                return "kept"
        try:
            target.hardlink_to(source)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
        else:
            return "link"
        return _place_over(source, target)


def _place_over(source: Path, target: Path) -> Placed:
    temp = target.with_name(f"{TEMP_PREFIX}{os.getpid()}-{target.name}")
    unlink(temp)
    how: Placed = "link"
    try:
        try:
            temp.hardlink_to(source)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            how = "reflink" if _reflink(source, temp) else "copy"
            if how == "copy":
                shutil.copyfile(source, temp)
            temp.chmod(0o644)
        rename(temp, target)
    finally:
        unlink(temp)
    return how


def folder_url(folder: Path) -> str:
    """The ``file://`` URL of a channel in ``folder``, by this host's rules."""
    return channel_url(str(folder.absolute()), windows=sys.platform == "win32")


def remove(path: Path) -> None:
    """Remove a file or a whole folder, read-only files included; what is gone already is fine."""
    with faults_at(path):
        if not path.is_dir() or path.is_symlink():
            unlink(path)
        elif sys.platform != "win32":
            shutil.rmtree(path)
        elif sys.version_info >= (3, 12):
            shutil.rmtree(path, onexc=_once_more)
        else:
            shutil.rmtree(path, onerror=_once_more)


def unlink(path: Path) -> None:
    """Remove a file, a read-only one too; what is gone already is fine.

    Raises:
        OSError: the system refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        if sys.platform != "win32" or not _freed(path):
            raise
        path.unlink(missing_ok=True)


def _once_more(action: Callable[..., object], path: str, _: object) -> None:
    """Remove what ``rmtree`` could not, if that was read-only; else say which file it was."""
    with faults_at(Path(path)):
        if action is os.unlink and _freed(Path(path)):
            Path(path).unlink(missing_ok=True)
        elif isinstance(error := sys.exc_info()[1], OSError):  # it calls from its `except` block
            raise error


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Iterator[int]:
    """Hold the lock file ``path`` while the block runs; the system frees it if the process dies.

    Yields:
        The handle; a process that inherits it holds the lock as well, until it ends.

    Raises:
        BusyError: somebody else holds it; ``what`` says what they are doing.
    """
    with faults_at(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+b")
    with stream:
        if not _lock_soon(stream, path):
            raise BusyError(f"{what} is already running", where=path, hint="wait for it to end")
        yield stream.fileno()


def _lock_soon(stream: IO[bytes], path: Path) -> bool:
    # A run that was killed while it started a program has left a copy of itself, which holds the
    # lock until it has become that program.
    for pause in (*_LOCK_RETRIES, 0):
        with faults_at(path):
            if try_lock(stream):
                return True
        time.sleep(pause)
    return False


def try_lock(stream: IO[bytes] | int) -> bool:
    """Lock an open file, or a folder by its handle, against all others; say if that went well.

    The system frees the lock when ``stream`` is closed or the process dies.

    Raises:
        OSError: the file system has no locks.
    """
    handle = stream if isinstance(stream, int) else stream.fileno()
    try:
        if sys.platform == "win32":
            import msvcrt

            # It locks from where the file is being read: all must mean the same byte.
            position = os.lseek(handle, 0, os.SEEK_CUR)
            os.lseek(handle, 0, os.SEEK_SET)
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(handle, position, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKED:
            return False
        raise
    return True
