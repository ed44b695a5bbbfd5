"""The one opener of what lies in folders that others can write to.

A stick, a share, a channel that came with the post: whoever had it may have put a link where a
folder is expected, or a pipe where a file is. :func:`guard` names such a place, once, where it is
first met. From then on no path below it leads through a symbolic link or a junction, whatever it is
opened, written, listed or removed for, and only regular files are opened, without waiting.

What leads *to* a guarded place is its user's own word, and links there are followed. Paths below no
guarded place are opened as the system opens them.

Everything here raises ``OSError``, for which :func:`repack.fs.faults.os_errors_at` has the words, but
for the questions ``exists``, ``is_file``, ``is_folder`` and ``is_link``: they raise ``PlaceError``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, NamedTuple

from repack.fs import openat
from repack.fs.faults import os_errors_at

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

_places: set[str] = set()
# What systems say where a time may not be set, or cannot be
_REFUSALS: Final = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class Entry(NamedTuple):
    """What a folder holds under one name; ``odd`` is a link, a pipe, a device or the like."""

    name: str
    kind: Literal["file", "folder", "odd"]
    size: int = -1
    mtime_ns: int = 0


def guard(place: Path) -> Path:
    """Follow no links below ``place`` any more, for as long as this process runs."""
    _places.add(os.path.abspath(place))  # noqa: PTH100 - links above the place are its user's
    return place


def _split(path: Path | str) -> tuple[str, str] | None:
    """The outermost guarded place that ``path`` lies in, and the way from there; None if in none."""
    text = os.path.abspath(path)  # noqa: PTH100 - as above
    end = text.find(os.sep, 1)
    while end != -1:
        if text[:end] in _places:
            return text[:end], text[end + 1 :]
        end = text.find(os.sep, end + 1)
    return None


def is_guarded(path: Path) -> bool:
    """Whether a path lies below a guarded place."""
    return _split(path) is not None


def open_handle(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file or folder, at once; below a guarded place no link is followed."""
    flags |= openat.AT_ONCE
    found = _split(path)
    if found is None:
        return os.open(path, flags, mode)
    if not openat.HAS_HANDLES:
        openat.look_at_steps(*found, last=True)
        return os.open(path, flags, mode)
    return openat.open_way(*found, flags, mode)


def open_file(path: Path, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """Open a regular file.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    # What is not to be opened must not be emptied either.
    handle = open_handle(path, flags & ~os.O_TRUNC, mode)
    try:
        _require_file(handle, path)
        if flags & os.O_TRUNC:
            os.ftruncate(handle, 0)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _require_file(handle: int, path: Path) -> None:
    mode = os.fstat(handle).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))


def reading(path: Path, buffering: int = -1) -> Any:
    """Open a regular file for reading: a buffered reader, or a raw one without ``buffering``."""
    return os.fdopen(open_file(path), "rb", buffering)


def writing(path: Path, *, new: bool = False) -> IO[bytes]:
    """Open a regular file for writing, emptied.

    Args:
        new: only if there is none.
    """
    how = os.O_EXCL if new else os.O_TRUNC
    return os.fdopen(open_file(path, os.O_WRONLY | os.O_CREAT | how), "wb")


def reading_inside(path: Path, place: Path) -> io.BufferedReader:
    """Open a regular file that lies in ``place`` once every link is followed, as in environments.

    Raises:
        OSError: it cannot be opened, is no regular file, or lies elsewhere.
    """
    way = os.path.relpath(path, place)
    if openat.has_openat2():
        folder = os.open(place, openat.STEP)
        try:
            handle = openat.openat2(
                folder, way, os.O_RDONLY | openat.AT_ONCE, 0, openat.BENEATH | openat.NO_MAGICLINKS
            )
        finally:
            os.close(folder)
    else:
        real = os.path.realpath(path)
        if os.path.commonpath([real, os.path.realpath(place)]) != os.path.realpath(place):
            raise OSError(errno.EXDEV, "leads out of its folder", os.fspath(path))
        handle = os.open(real, os.O_RDONLY | openat.AT_ONCE | openat.NOFOLLOW)
    try:
        _require_file(handle, path)
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


@contextlib.contextmanager
def _beside(path: Path | str) -> Iterator[tuple[int | None, str]]:
    """The handle of the folder that ``path`` is in, and its name there; None and the path itself."""
    found = _split(path)
    if found is None:
        yield None, os.fspath(path)
    elif not openat.HAS_HANDLES:
        openat.look_at_steps(*found, last=False)
        yield None, os.fspath(path)
    else:
        place, way = found
        parent, _, name = way.rpartition("/")
        handle = (
            openat.open_way(place, parent, openat.STEP) if parent else os.open(place, openat.STEP)
        )
        try:
            yield handle, name
        finally:
            os.close(handle)


def make_folders(path: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it; one that is there already is fine."""
    found = _split(path)
    if found is None:
        path.mkdir(mode, parents=True, exist_ok=True)
        return
    place, way = found
    if is_folder(path):
        return
    Path(place).mkdir(parents=True, exist_ok=True)
    steps = Path(way).parts
    for count in range(1, len(steps) + 1):
        step = Path(place, *steps[:count])
        try:
            make_folder(step, mode if count == len(steps) else 0o777)
        except FileExistsError:
            if not is_folder(step):
                if is_link(step):
                    raise openat.refused(str(step)) from None
                raise


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make one folder, which is not there yet."""
    with _beside(path) as (folder, name):
        os.mkdir(name, mode, dir_fd=folder)


def status(path: Path) -> os.stat_result:
    """What lies there; of a link, below a guarded place, the link itself."""
    if _split(path) is None:
        return path.stat()
    with _beside(path) as (folder, name):
        return os.stat(name, dir_fd=folder, follow_symlinks=False)


def _kind(path: Path) -> int:
    """The type bits of what lies there; 0 if there is nothing."""
    with os_errors_at(path):
        try:
            found = status(path)
        except (FileNotFoundError, NotADirectoryError):
            return 0
    return stat.S_IFLNK if openat.is_link(found) else stat.S_IFMT(found.st_mode)


def exists(path: Path) -> bool:
    """Whether there is anything; a folder that cannot be searched is an error, not a no."""
    return _kind(path) != 0


def is_file(path: Path) -> bool:
    """Whether there is a regular file; a folder that cannot be searched is an error, not a no."""
    return _kind(path) == stat.S_IFREG


def is_folder(path: Path) -> bool:
    """Whether there is a folder; one above that cannot be searched is an error, not a no."""
    return _kind(path) == stat.S_IFDIR


def is_link(path: Path) -> bool:
    """Whether there is a link."""
    with os_errors_at(path):
        try:
            with _beside(path) as (folder, name):
                return openat.is_link(os.stat(name, dir_fd=folder, follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return False


def scan(folder: Path, *, sizes: bool = False) -> list[Entry]:
    """Everything in a folder, by name. One that cannot be read is an error, never empty.

    Args:
        sizes: whether size and time of change are asked for as well.
    """
    if not openat.HAS_HANDLES:
        if (found := _split(folder)) is not None:
            openat.look_at_steps(*found, last=True)
        with os.scandir(folder) as entries:
            return sorted(_entry(entry, sizes=sizes) for entry in entries)
    handle = open_handle(folder, os.O_RDONLY | openat.FOLDER)
    try:
        with os.scandir(handle) as entries:
            return sorted(_entry(entry, sizes=sizes) for entry in entries)
    finally:
        os.close(handle)


def _entry(entry: os.DirEntry[str], *, sizes: bool) -> Entry:
    kind: Literal["file", "folder", "odd"] = "odd"
    if not openat.HAS_HANDLES and openat.is_link(entry.stat(follow_symlinks=False)):
        pass  # a junction says that it is a folder
    elif entry.is_dir(follow_symlinks=False):
        kind = "folder"
    elif entry.is_file(follow_symlinks=False):
        kind = "file"
    if not sizes:
        return Entry(entry.name, kind)
    found = entry.stat(follow_symlinks=False)
    return Entry(entry.name, kind, found.st_size, found.st_mtime_ns)


def scan_if_there(folder: Path, *, sizes: bool = False) -> list[Entry]:
    """Everything in a folder; nothing where there is no such folder."""
    try:
        return scan(folder, sizes=sizes)
    except FileNotFoundError:
        return []


def rename(source: Path, target: Path) -> None:
    """Let ``source`` be ``target``, replacing what is there."""
    with _beside(source) as (old, old_name), _beside(target) as (new, new_name):
        os.replace(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)


def link(source: Path, target: Path) -> None:
    """Give a file a second name."""
    with _beside(source) as (old, old_name), _beside(target) as (new, new_name):
        if old is not None and not stat.S_ISREG(
            os.stat(old_name, dir_fd=old, follow_symlinks=False).st_mode
        ):
            raise OSError(errno.EINVAL, "is no regular file", os.fspath(source))
        follow = old is None
        os.link(old_name, new_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=follow)


def symlink(target: str, path: Path) -> None:
    """Make a symbolic link."""
    with _beside(path) as (folder, name):
        os.symlink(target, name, dir_fd=folder)


def readlink(path: Path) -> str:
    """Where a symbolic link leads."""
    with _beside(path) as (folder, name):
        return os.readlink(name, dir_fd=folder)


def unlink(path: Path) -> None:
    """Remove a file or a link; what is gone already is fine."""
    with contextlib.suppress(FileNotFoundError), _beside(path) as (folder, name):
        os.unlink(name, dir_fd=folder)


def remove_folder(path: Path) -> None:
    """Remove an empty folder."""
    with _beside(path) as (folder, name):
        os.rmdir(name, dir_fd=folder)


def remove_tree(path: Path, onerror: Callable[..., object] | None = None) -> None:
    """Remove a folder with everything in it; links in it are removed, not followed."""
    with _beside(path) as (folder, name):
        if openat.HAS_HANDLES:
            shutil.rmtree(name, dir_fd=folder)
        elif sys.version_info >= (3, 12):
            shutil.rmtree(name, onexc=onerror)
        else:
            shutil.rmtree(name, onerror=onerror)


def set_times(path: Path | int, times_ns: tuple[int, int]) -> None:
    """Set when a file, by path or open, was read and written last, in ns, where that can be.

    Times save work and prove nothing, and only a file's owner may set them; shares and FUSE file
    systems refuse them to all. So a refusal is no error.
    """
    if isinstance(path, int):
        with _refusals_passed_over():
            os.utime(path, ns=times_ns)
        return
    with _beside(path) as (folder, name), _refusals_passed_over():
        if folder is None:
            os.utime(name, ns=times_ns)
        else:
            os.utime(name, ns=times_ns, dir_fd=folder, follow_symlinks=False)


@contextlib.contextmanager
def _refusals_passed_over() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise


def set_mode(path: Path, mode: int) -> None:
    """Set the mode of a file or folder."""
    if _split(path) is None or not openat.HAS_HANDLES:
        path.chmod(mode)
        return
    handle = open_handle(path, os.O_RDONLY)
    try:
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def exchange(one: Path, other: Path, flag: int) -> int:
    """renameat2(2) with ``flag``; 0, or the number of the error."""
    with _beside(one) as (old, old_name), _beside(other) as (new, new_name):
        failed = openat.libc().renameat2(
            -100 if old is None else old,  # AT_FDCWD
            os.fsencode(old_name),
            -100 if new is None else new,
            os.fsencode(new_name),
            flag,
        )
        return ctypes.get_errno() if failed else 0
