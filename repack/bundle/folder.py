"""A folder of data files: what is in it, whether it can be carried, and its digests.

Digests of files that did not change are taken from a stamp file, as git does from its index: size,
both times and inode are compared. A file touched within two seconds before it was hashed is hashed
again next time, because a later change might not show in its times (FAT counts in two seconds).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from repack.bundle.package import path_problems
from repack.codec import canonical
from repack.codec.decode import Document, decode, encode
from repack.display import printable
from repack.errors import FolderError, IntegrityError, PlaceError, Problem, RepackError
from repack.fs import atomic, beneath
from repack.fs.litter import is_litter
from repack.names import RelPath
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Algorithm = Literal["sha256", "sha384"]
_RACY_NS: Final = 2_000_000_000
_STAMP_LIMIT: Final = 256 << 20
_STAMP_FORMAT: Final = 2  # up to 1 nobody looked for keys
_THREADS: Final = 8
# Keys are short: what begins like one further on is a text about keys, or chance.
_KEY_WITHIN: Final = 64 << 10
_PRIVATE_KEY: Final = re.compile(
    rb"^\xef?\xbb?\xbf?[ \t]*-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    rb"|\APuTTY-User-Key-File-|^AGE-SECRET-KEY-1"
    rb"|\A\s*\{[^\0]{0,4096}\"kty\"[^\0]{0,8192}\"d\"\s*:",
    re.MULTILINE,
)
_KEY_NAMES: Final = re.compile(r"(?:.*\.(?:p12|pfx|jks|keystore|ppk))|hmac\.key", re.IGNORECASE)
_KEYS_MARK: Final = "keys.json"
_KINDS: Final = {
    stat.S_IFLNK: "is a symbolic link",
    stat.S_IFBLK: "is a device",
    stat.S_IFCHR: "is a device",
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFSOCK: "is a socket",
}


class DataFile(Struct, frozen=True):
    """One plain file.

    Attributes:
        path: inside the folder.
        stamp: size, mtime, ctime (both in ns) and inode.
    """

    path: RelPath
    source: Path
    stamp: tuple[int, int, int, int]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp[0]


class DataFolder(Struct, frozen=True):
    """The plain files of a folder, sorted, and the litter that was left out."""

    folder: Path
    files: tuple[DataFile, ...]
    litter: tuple[str, ...]


class _Stamps(Document, frozen=True):
    """The stamp file: format, folder and algorithm; then size, mtime, ctime, inode and digest."""

    of: tuple[int, str, str]
    files: dict[str, tuple[int, int, int, int, str]]


class HashedFile(Struct, frozen=True):
    """A file and its digest in hex."""

    file: DataFile
    digest: str


def scan_folder(folder: Path) -> DataFolder:
    """List a folder. Empty folders don't count: neither packages nor archives carry them.

    Raises:
        FolderError: lists all that is no plain file, or has a name that some system cannot hold,
            or cannot be read.
        PlaceError: there is no such folder.
    """
    if not folder.is_dir():
        raise PlaceError("no such folder", where=folder)
    files: list[DataFile] = []
    litter: list[str] = []
    problems: list[Problem] = []
    for path, entry in _walk(folder, "", litter, problems):
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            problems.append(Problem(printable(path), (error.strerror or "unreadable").lower()))
            continue
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "is no plain file")
            problems.append(Problem(printable(path), kind))
            continue
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        # `path` may be none that RelPath takes; then path_problems names it below.
        files.append(DataFile(str.__new__(RelPath, path), Path(entry.path), stamp))
    problems += path_problems(file.path for file in files)
    problems += _unreadable(files)
    problems += _key_places(folder, files)
    if problems:
        raise FolderError(sorted(problems, key=lambda p: p.where), where=folder)
    return DataFolder(
        folder, tuple(sorted(files, key=lambda file: file.path)), tuple(sorted(litter))
    )


def digests(
    tree: DataFolder,
    algorithm: Algorithm,
    stamps: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[HashedFile, ...]:
    """Hash every file, several at once; those that ``stamps`` knows are not read.

    Raises:
        FolderError: lists all files that could not be read.
        SpaceError: the stamp file cannot be written.
    """
    began = time.time_ns()
    stored = _read_stamps(stamps, tree.folder, algorithm)
    digest_by_path: dict[str, str] = {}
    changed: list[DataFile] = []
    for file in tree.files:
        row = stored.get(file.path)
        if row is not None and row[:4] == file.stamp:
            digest_by_path[file.path] = row[4]
        else:
            changed.append(file)
    if changed:
        digest_by_path |= _hash_all(tree.folder, changed, algorithm, progress)
    hashed = tuple(HashedFile(file, digest_by_path[file.path]) for file in tree.files)
    if stamps and (changed or len(stored) != len(hashed)):
        _write_stamps(stamps, tree.folder, algorithm, hashed, began)
    return hashed


def _walk(
    folder: Path, prefix: str, litter: list[str], problems: list[Problem]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry that is no folder, with its path in the tree; links are not followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(Problem(printable(prefix or "."), (error.strerror or "unreadable").lower()))
        return
    for entry in entries:
        path = f"{prefix}{entry.name}"
        if is_litter(entry.name):
            litter.append(printable(path))
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{path}/", litter, problems)
        else:
            yield path, entry


def _unreadable(files: Sequence[DataFile]) -> list[Problem]:
    return [
        Problem(printable(file.path), "cannot be read")
        for file in files
        if not os.access(file.source, os.R_OK)
    ]


def _key_places(folder: Path, files: Sequence[DataFile]) -> list[Problem]:
    """Files and folders that are keys by their name; :func:`_hash` looks into the others."""
    problems = [
        Problem(printable(file.path), "is a file of private keys by its name")
        for file in files
        if _KEY_NAMES.fullmatch(file.path.rpartition("/")[2])
    ]
    for file in files:
        # The folder that `repack key new` makes, whatever it is called now.
        if file.path.rpartition("/")[2] == _KEYS_MARK and b"repack-keys-" in _head(file.source):
            where = file.path.rpartition("/")[0] or folder.name
            problems.append(Problem(printable(where), "is a folder of keys"))
    return problems


def _head(path: Path) -> bytes:
    with atomic.os_errors_at(path), beneath.reading(path) as stream:
        head: bytes = stream.read(_KEY_WITHIN)
        return head


def _hash_all(
    folder: Path, files: Sequence[DataFile], algorithm: Algorithm, progress: Progress
) -> dict[str, str]:
    problems: list[Problem] = []

    def hash_one(file: DataFile) -> str:
        try:
            return _hash(file.source, algorithm, advance)
        except RepackError as error:
            problems.append(Problem(printable(file.path), error.what))
            return ""

    size = sum(file.size for file in files)
    with (
        progress.phase(f"hash {folder.name}", size, "bytes") as advance,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        digests = pool.map(hash_one, files)
        digest_by_path = dict(zip([str(file.path) for file in files], digests, strict=True))
    if problems:
        raise FolderError(sorted(problems, key=lambda p: p.where), where=folder)
    return digest_by_path


def _hash(path: Path, algorithm: Algorithm, advance: Callable[[int], None]) -> str:
    hasher, buffer = hashlib.new(algorithm), bytearray(atomic.CHUNK)
    view, seen = memoryview(buffer), 0
    with atomic.os_errors_at(path), beneath.reading(path, 0) as stream:
        while count := stream.readinto(buffer):
            if not seen and _PRIVATE_KEY.search(view[: min(count, _KEY_WITHIN)]):
                raise IntegrityError("holds a private key", where=path)
            hasher.update(view[:count])
            seen += count
            advance(count)
    return hasher.hexdigest()


def _read_stamps(
    path: Path | None, folder: Path, algorithm: Algorithm
) -> dict[str, tuple[int, int, int, int, str]]:
    """The rows of the stamp file by path; none if it is missing, damaged or another folder's."""
    if path is None:
        return {}
    try:
        document = canonical.loads(atomic.read(path, _STAMP_LIMIT), path, _STAMP_LIMIT)
        stamps = decode(_Stamps, document, path, "stamp file")
    except RepackError:
        return {}
    return stamps.files if stamps.of == _key(folder, algorithm) else {}


def _write_stamps(
    path: Path, folder: Path, algorithm: Algorithm, hashed: Sequence[HashedFile], began: int
) -> None:
    rows = {
        str(row.file.path): (*row.file.stamp, row.digest)
        for row in hashed
        if max(row.file.stamp[1:3]) < began - _RACY_NS
    }
    atomic.write(path, json.dumps(encode(_Stamps(_key(folder, algorithm), rows))).encode())


def _key(folder: Path, algorithm: Algorithm) -> tuple[int, str, str]:
    return _STAMP_FORMAT, str(folder.absolute()), algorithm
