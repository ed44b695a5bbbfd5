"""The only writer.

Every file that must not be half there is written beside its place, flushed to disk and renamed
(restic's ``local.Save``). Every read of outside data is bounded. Every ``OSError`` becomes one of
repack's errors here, with the path in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from repack.errors import IntegrityError
from repack.fs import beneath, faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CHUNK: Final = 1 << 20
TEMP_PREFIX: Final = ".repack-"
NO_SPACE: Final = faults.NO_SPACE
from_os_error: Final = faults.from_os_error
os_errors_at: Final = faults.os_errors_at
_NO_MODES: Final = {errno.ENOSYS, errno.ENOTSUP}
_BUSY_RETRIES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


def rename(source: Path, target: Path) -> None:
    """Replace ``target`` by ``source`` atomically; on Windows retried while a scanner holds it."""
    for pause in _BUSY_RETRIES if sys.platform == "win32" else ():
        try:
            beneath.rename(source, target)
        except PermissionError:
            if not _freed(target):
                time.sleep(pause)
        else:
            return
    beneath.rename(source, target)


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
        beneath.set_mode(path, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    handle = beneath.open_handle(folder, os.O_RDONLY)
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
        beneath.make_folders(path.parent)
        temp = path.with_name(f"{TEMP_PREFIX}{secrets.token_hex(8)}")
        handle = beneath.open_file(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
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

    A crash may cut the file off, so whoever reads it checks it. A file that is read-only or another
    user's gives way where the folder is writable. Raises as :func:`writing` does.
    """
    with os_errors_at(path):
        try:
            _overwrite(path, data)
        except FileNotFoundError:
            beneath.make_folders(path.parent)
            _overwrite(path, data)
        except PermissionError:
            unlink(path)
            _overwrite(path, data)


def _overwrite(path: Path, data: bytes) -> None:
    with beneath.writing(path) as stream:
        stream.write(data)


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file nobody reads yet, as in a folder being staged; :func:`flush` makes it last.

    Raises as :func:`writing` does, but may leave half a file.
    """
    with os_errors_at(path):
        beneath.make_folders(path.parent)
        _overwrite(path, data)
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
    with os_errors_at(path), _open_any(path) as stream:
        # read() sets aside as much as it is asked for: ask for what is there. Pipes and the
        # system's own files say 0 and have more.
        size = os.fstat(stream.fileno()).st_size or limit
        data: bytes = stream.read(min(limit, size) + 1)
    if len(data) > limit:
        raise IntegrityError("file is too large", where=path, expected=f"at most {limit} bytes")
    return data


def _open_any(path: Path) -> Any:
    """Open a file; outside of guarded places also a pipe, such as a shell's ``<(command)``."""
    if beneath.is_guarded(path):
        return beneath.reading(path)
    return path.open("rb")


def remove(path: Path) -> None:
    """Remove a file or a whole folder, read-only files included; what is gone already is fine.

    A link is removed, never what it leads to, and so are those in the folder.
    """
    with os_errors_at(path), contextlib.suppress(FileNotFoundError):
        if not beneath.is_folder(path) or beneath.is_link(path):
            unlink(path)
        else:
            beneath.remove_tree(path, _once_more)


def unlink(path: Path) -> None:
    """Remove a file, a read-only one too; what is gone already is fine.

    Raises:
        OSError: the system refuses.
    """
    try:
        beneath.unlink(path)
    except PermissionError:
        if sys.platform != "win32" or not _freed(path):
            raise
        beneath.unlink(path)


def _once_more(action: Callable[..., object], path: str, _: object) -> None:
    """Remove what ``rmtree`` could not, if that was read-only; else say which file it was."""
    with os_errors_at(Path(path)):
        if action is os.unlink and _freed(Path(path)):
            Path(path).unlink(missing_ok=True)
        elif isinstance(error := sys.exc_info()[1], OSError):  # it calls from its `except` block
            raise error
