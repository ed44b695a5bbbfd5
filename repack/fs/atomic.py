"""The only writer.

Every file that must not be half there is written beside its place, flushed to disk and renamed
(restic's ``local.Save``). Every read of outside data is bounded. Every ``OSError`` becomes one of
repack's errors here, with the path in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from repack.errors import IntegrityError, PlaceError, RepackError, SpaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CHUNK: Final = 1 << 20
TEMP_PREFIX: Final = ".repack-"
NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_MODES: Final = {errno.ENOSYS, errno.ENOTSUP}
_BUSY_RETRIES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


def from_os_error(error: OSError, path: Path) -> RepackError:
    """The repack error for an ``OSError`` at ``path``."""
    if error.errno in NO_SPACE:
        return SpaceError("no space left", where=path, hint="free some space and run again")
    hint = None
    if sys.platform == "win32" and isinstance(error, PermissionError):
        hint = "if nobody has it open, a virus scanner may hold it"
    return PlaceError((error.strerror or str(error)).lower(), where=path, hint=hint)


@contextlib.contextmanager
def os_errors_at(path: Path) -> Iterator[None]:
    """Turn any ``OSError`` inside into repack's error about ``path``.

    Raises:
        SpaceError: the disk is full.
        PlaceError: anything else.
    """
    try:
        yield
    except OSError as error:
        raise from_os_error(error, path) from error


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


def file_mode(path: str) -> int:
    """The mode of a file of a channel or medium: scripts may be run."""
    return 0o755 if path.endswith(".sh") else 0o644


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
    with os_errors_at(path):
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
    with os_errors_at(path):
        try:
            path.write_bytes(data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file nobody reads yet, as in a folder being staged; :func:`flush` makes it last.

    Raises as :func:`writing` does, but may leave half a file.
    """
    with os_errors_at(path):
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
    with os_errors_at(path):
        sync_folder(path)


def read(path: Path, limit: int) -> bytes:
    """Read a whole file of at most ``limit`` bytes.

    Raises:
        IntegrityError: it is longer.
        PlaceError: it cannot be read.
    """
    with os_errors_at(path), path.open("rb") as stream:
        # read() sets aside as much as it is asked for: ask for what is there. Pipes and the
        # system's own files say 0 and have more.
        size = os.fstat(stream.fileno()).st_size or limit
        data = stream.read(min(limit, size) + 1)
    if len(data) > limit:
        raise IntegrityError("file is too large", where=path, expected=f"at most {limit} bytes")
    return data


def remove(path: Path) -> None:
    """Remove a file or a whole folder, read-only files included; what is gone already is fine."""
    with os_errors_at(path):
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
    with os_errors_at(Path(path)):
        if action is os.unlink and _freed(Path(path)):
            Path(path).unlink(missing_ok=True)
        elif isinstance(error := sys.exc_info()[1], OSError):  # it calls from its `except` block
            raise error
