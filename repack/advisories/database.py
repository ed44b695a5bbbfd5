"""A database of OSV in a file or folder, and its index in the store.

Reading 200,000 entries takes a while, so it is done once for each content: what they say of packages
goes into an SQLite file called after the database's SHA-256. A zip says how large its members are
before one is read, and no member is read further than it says.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sqlite3
import time
import zipfile
import zlib
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from repack.advisories.document import DatabaseInfo
from repack.advisories.osv import MAX_ENTRY, Advisory, parse_entry
from repack.codec.decode import decode, encode
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic, beneath, digests
from repack.fs.walk import entries
from repack.timestamps import stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from repack.advisories.osv import OsvEntry

_VERSION: Final = 1  # raised whenever the index holds something else of the same database
_MAX_ENTRIES: Final = 2_000_000
_MAX_TOTAL: Final = 16 << 30
_HINT: Final = "take it from osv.dev's export, such as PyPI/all.zip, and give it as it is"
_LITTER_AGE: Final = 86_400.0
_TABLES: Final = """
    CREATE TABLE advisory (package TEXT NOT NULL, data BLOB NOT NULL);
    CREATE TABLE name (name TEXT NOT NULL, advisory INTEGER NOT NULL);
    CREATE TABLE about (data TEXT NOT NULL);
"""


class Database(Struct, frozen=True):
    """An indexed database.

    Attributes:
        info: what it is, for reports.
    """

    index: Path
    info: DatabaseInfo

    def about(self, packages: Iterable[tuple[str, str]]) -> tuple[Advisory, ...]:
        """The advisories on packages, given as ecosystem and normalized name.

        Raises:
            IntegrityError: the index is damaged.
        """
        wanted = sorted({f"{ecosystem}:{name}" for ecosystem, name in packages})
        query = "SELECT data FROM advisory WHERE package = ?"
        return self._read((query, (key,)) for key in wanted)

    def called(self, name: str) -> tuple[Advisory, ...]:
        """The advisories that have ``name`` as identifier or alias.

        Raises:
            IntegrityError: the index is damaged.
        """
        query = (
            "SELECT data FROM advisory WHERE rowid IN (SELECT advisory FROM name WHERE name = ?)"
        )
        return self._read([(query, (name.upper(),))])

    def _read(self, queries: Iterable[tuple[str, tuple[str]]]) -> tuple[Advisory, ...]:
        with _reading(self.index) as connection:
            texts = [text for query in queries for (text,) in connection.execute(*query)]
            rows = [msgspec.json.decode(text, type=Advisory) for text in texts]
        return tuple(sorted(rows, key=lambda row: (row.ecosystem, row.name, row.id)))


def open_database(source: Path, cache: Path) -> Database:
    """Index ``source``, unless that was done before.

    Args:
        source: a zip, a folder, or a JSON file of one entry or a list of them.
        cache: the folder of indexes.

    Raises:
        UsageError: there is nothing at ``source``.
        IntegrityError: it is no database of OSV, or damaged; names the entry.
        PlaceError: it cannot be read, or the index not written.
        SpaceError: the disk is full.
    """
    if not source.exists():
        raise UsageError("there is no database of advisories here", where=source, hint=_HINT)
    with atomic.os_errors_at(source):
        key = _listing_digest(source) if source.is_dir() else digests.digest(source)[0]
    path = cache / f"{key}-{_VERSION}.sqlite"
    if (info := _read_info(path, source)) is not None:
        return Database(path, info)
    with atomic.os_errors_at(path):
        beneath.make_folders(path.parent, 0o700)
    with _index_in_making(path) as connection:
        info = _fill(connection, source, None if source.is_dir() else key)
    return Database(path, info)


@contextlib.contextmanager
def _index_in_making(path: Path) -> Iterator[sqlite3.Connection]:
    """An index that appears whole or not at all; two that make the same do not meet."""
    # What a build that was killed left behind, not what another one is at.
    for entry in beneath.scan_if_there(path.parent):
        if entry.name.startswith(atomic.TEMP_PREFIX) and entry.name.endswith(".sqlite"):
            old = path.parent / entry.name
            with contextlib.suppress(OSError):
                if time.time() - beneath.status(old).st_mtime > _LITTER_AGE:
                    atomic.unlink(old)
    making = path.with_name(f"{atomic.TEMP_PREFIX}{os.urandom(8).hex()}.sqlite")
    try:
        connection = sqlite3.connect(making)
        with contextlib.closing(connection):
            # A cut leaves a temporary file, never half an index: SQLite's journal is not needed.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(_TABLES)
            yield connection
            connection.execute("CREATE INDEX by_package ON advisory (package)")
            connection.execute("CREATE INDEX by_name ON name (name)")
            connection.commit()
        with atomic.os_errors_at(path):
            atomic.flush([making])
            atomic.rename(making, path)
    except sqlite3.Error as error:
        with atomic.os_errors_at(path):
            is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            code = errno.ENOSPC if is_full else errno.EIO
            raise OSError(code, f"the index of advisories cannot be written: {error}") from error
    finally:
        atomic.unlink(making)


def _fill(connection: sqlite3.Connection, source: Path, sha256: str | None) -> DatabaseInfo:
    newest: datetime | None = None
    count, content = 0, hashlib.sha256()
    for name, data in _entries(source):
        if sha256 is None:
            content.update(f"{name}\0{len(data)}\0".encode("utf-8", "surrogateescape") + data)
        entry = parse_entry(data, f"{source}: {name}" if name else str(source))
        count += 1
        if entry.modified is not None and (newest is None or entry.modified > newest):
            newest = entry.modified
        _insert(connection, entry)
    if not count:
        raise IntegrityError(
            "there is no entry of OSV in the database of advisories", where=source, hint=_HINT
        )
    info = DatabaseInfo(
        source=source.name,
        sha256=sha256 or content.hexdigest(),
        date=stamp(newest) if newest else "",
        entries=count,
    )
    connection.execute("INSERT INTO about VALUES (?)", (json.dumps(encode(info)),))
    return info


def _insert(connection: sqlite3.Connection, entry: OsvEntry) -> None:
    for advisory in entry.advisories:
        data = msgspec.json.encode(advisory)
        key = f"{advisory.ecosystem}:{advisory.name}"
        row = connection.execute("INSERT INTO advisory VALUES (?, ?)", (key, data)).lastrowid
        names = ((name.upper(), row) for name in advisory.names)
        connection.executemany("INSERT INTO name VALUES (?, ?)", names)


def _read_info(path: Path, source: Path) -> DatabaseInfo | None:
    """What stands in an index; None when there is none that can be used."""
    if not path.is_file():
        return None
    try:
        with _reading(path) as connection:
            ((data,),) = connection.execute("SELECT data FROM about").fetchall()
        info = decode(DatabaseInfo, json.loads(data), path, "index")
    except (IntegrityError, ValueError, TypeError):
        with atomic.os_errors_at(path):
            atomic.unlink(path)
        return None
    # One content may have several names; the file that the label names is told.
    return DatabaseInfo(source.name, info.sha256, info.date, info.entries)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as connection:
            yield connection
    except (sqlite3.Error, msgspec.DecodeError) as error:
        raise IntegrityError(
            "the index of advisories is damaged", where=path, got=error, hint="remove it"
        ) from error


def _listing_digest(folder: Path) -> str:
    """Names, sizes and times of a folder's files: enough to see that it is the same as before."""
    rows = hashlib.sha256()
    for name, path in _files(folder):
        status = path.stat()
        row = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0"
        rows.update(row.encode("utf-8", "surrogateescape"))
    return rows.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The JSON files below a folder, by name in it; links are not followed."""
    for name, entry in sorted(entries(folder), key=lambda item: item[0]):
        if name.endswith(".json") and entry.kind == "file":
            yield name, folder / name


def _entries(source: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each entry; a name is empty where the file is the entry."""
    if source.is_dir():
        for name, path in _files(source):
            yield name, atomic.read(path, MAX_ENTRY)
        return
    with atomic.os_errors_at(source), beneath.reading(source) as stream:
        start = stream.read(4)
    if start[:2] == b"PK":
        yield from _zip_entries(source)
        return
    data = atomic.read(source, MAX_ENTRY * 4)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise IntegrityError(
            "neither a zip nor JSON: no database of OSV", where=source, hint=_HINT
        ) from None
    if not isinstance(document, list):
        yield "", data
        return
    for number, entry in enumerate(document, 1):
        yield f"entry {number}", json.dumps(entry).encode("utf-8", "surrogatepass")


def _zip_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    name = ""
    try:
        with zipfile.ZipFile(source) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".json")]
            if len(members) > _MAX_ENTRIES or sum(m.file_size for m in members) > _MAX_TOTAL:
                raise IntegrityError(
                    "the database of advisories is too large", where=source,
                    expected=f"at most {_MAX_ENTRIES} entries and {_MAX_TOTAL >> 30} GiB",
                )  # fmt: skip
            for info in members:
                name = info.filename
                if info.file_size > MAX_ENTRY:
                    raise IntegrityError(
                        "an entry of the database is too large", where=f"{source}: {name}",
                        expected=f"at most {MAX_ENTRY} bytes", got=info.file_size,
                    )  # fmt: skip
                with archive.open(info) as member:
                    yield name, member.read(MAX_ENTRY + 1)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise IntegrityError(
            "the database of advisories is no whole zip",
            where=f"{source}: {name}" if name else source,
            got=error,
            hint="copy or download it again",
        ) from None
