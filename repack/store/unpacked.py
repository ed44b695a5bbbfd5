"""The unpacked copies of archives that linking uses, compared with the archives.

rattler unpacks a package once and links it for every label, and by its own list in the unpacked
folder. So each file of the folder is compared with the archive, the descriptions included, and what
the archive does not hold must not be there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repack.archive.reader import open_tar_streams
from repack.archive.tar_reader import TarReader
from repack.errors import IntegrityError
from repack.fs import atomic, beneath, locks
from repack.names import Digest
from repack.store.listing import list_folder

if TYPE_CHECKING:
    from repack.archive.tar_reader import TarMember
    from repack.store.store import Store

# rattler's lock file of an unpacked package: a counter of 8 bytes, then the archive's SHA-256.
_LOCK_SIZE: Final = 40
_LOCK_DIGEST: Final = 8
_LIMIT: Final = 1 << 40  # bytes of tar; the archives were read before, within bounds
_CHUNK: Final = 1 << 20
# What rattler and conda write beside what they unpack.
_OF_CLIENTS: Final = frozenset({"info/repodata_record.json"})


def drop_changed(store: Store) -> tuple[str, ...]:
    """Remove unpacked packages that are not what their archives hold; the next build unpacks anew.

    One whose archive is not in the store cannot be compared and goes as well. One that a builder is
    just unpacking is passed over.

    Returns:
        The names of the folders that were removed.

    Raises:
        PlaceError: the cache cannot be read.
    """
    dropped = []
    for folder in list_folder(store.package_cache):
        lock = folder.with_name(f"{folder.name}.lock")
        if folder.name.startswith(".") or folder.suffix == ".lock":
            continue
        with contextlib.ExitStack() as holding, atomic.os_errors_at(folder):
            content = b""
            with contextlib.suppress(FileNotFoundError):
                stream = holding.enter_context(beneath.reading(lock))
                if not locks.try_lock(stream):
                    continue
                content = stream.read(_LOCK_SIZE + 1)
            is_noted = len(content) == _LOCK_SIZE
            sha256 = Digest(content[_LOCK_DIGEST:].hex()) if is_noted else None
            if sha256 is not None and _is_as_packed(folder, store.path(sha256)):
                continue
            atomic.remove(lock)
            atomic.remove(folder)
            dropped.append(folder.name)
    return tuple(dropped)


def _is_as_packed(folder: Path, archive: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        with beneath.reading(archive) as stream:
            suffix = ".conda" if stream.read(2) == b"PK" else ".tar.bz2"
            stream.seek(0)
            expected: dict[str, tuple[str, str]] = {}
            fn = f"{folder.name}{suffix}"
            with contextlib.closing(open_tar_streams(stream, fn)) as streams:
                for chunks in streams:
                    tar = TarReader(chunks, _LIMIT)
                    for member in tar:
                        _expect(member, tar, expected)
    except (IntegrityError, FileNotFoundError):
        return False
    return _measure(folder) == expected


def _expect(member: TarMember, tar: TarReader, expected: dict[str, tuple[str, str]]) -> None:
    name = member.name.removeprefix("./")
    if member.kind == "symlink":
        expected[name] = ("symlink", member.target)
    elif member.kind == "hardlink":
        expected[name] = expected.get(member.target.removeprefix("./"), ("nothing", ""))
    elif member.kind == "file":
        sha256 = hashlib.sha256()
        while data := tar.read(_CHUNK):
            sha256.update(data)
        expected[name] = ("file", sha256.hexdigest())


def _measure(folder: Path) -> dict[str, tuple[str, str]]:
    """Kind and digest of everything below ``folder`` but folders."""
    root, folders = os.fspath(folder), [os.fspath(folder)]
    actual: dict[str, tuple[str, str]] = {}
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                name = os.path.relpath(entry.path, root).replace(os.sep, "/")
                if entry.is_symlink():
                    actual[name] = ("symlink", os.readlink(entry.path))  # noqa: PTH115
                elif entry.is_dir():
                    folders.append(entry.path)
                elif not entry.is_file():
                    actual[name] = ("special", "")
                elif name not in _OF_CLIENTS:
                    with beneath.reading(Path(entry.path)) as stream:
                        digest = hashlib.file_digest(stream, "sha256").hexdigest()
                    actual[name] = ("file", digest)
    return actual
