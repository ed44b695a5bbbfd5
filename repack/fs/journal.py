"""Moves of folders that happen all or not at all, a kill at any instant included.

A journal says which folder, told by its inode, is to be where. Once it is written, the moves will
be made: by this run, or by the next one that finds it. A folder is exchanged with the one in its
place in one step where the system can (:mod:`repack.fs.exchange`), so that a reader sees the old
one or the new one at any instant; elsewhere renames follow each other.

The caller keeps all its journals in one folder, wherever the moved folders lie.
"""

from __future__ import annotations

import contextlib
import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.codec import canonical
from repack.codec.decode import Document, decode, encode
from repack.errors import IntegrityError, PlaceError, RepackError
from repack.fs import atomic, exchange
from repack.fs.ownership import check_own_file

if TYPE_CHECKING:
    from collections.abc import Sequence

_JOURNAL: Final = f"{atomic.TEMP_PREFIX}swap.json"
_UNWRITTEN: Final = f"{atomic.TEMP_PREFIX}swap.new"
_ASIDE: Final = f"{atomic.TEMP_PREFIX}old-"
_LIMIT: Final = 1 << 20


class Move(Struct, frozen=True):
    """The folder with this inode, now at ``source``, is to be at ``target``."""

    source: Path
    target: Path
    inode: int

    @classmethod
    def of(cls, source: Path, target: Path) -> Move:
        """Move the folder that is at ``source`` now.

        Raises:
            PlaceError: there is none.
        """
        with atomic.os_errors_at(source):
            return cls(source, target, source.stat().st_ino)

    def is_pending(self) -> bool:
        """Whether there is something left to do."""
        # By the inode and not by the name: after an exchange both names are taken, before and
        # after it, and only the inode tells whether it was made.
        return _inode(self.target) != self.inode and _inode(self.source) == self.inode


class Journal(Struct, frozen=True):
    """What a journal holds.

    Attributes:
        litter: removed once all moves are made.
    """

    moves: tuple[Move, ...]
    litter: tuple[Path, ...]


class _JournalFile(Document, frozen=True):
    """The file: source, target and inode of each move; and where the file itself was put."""

    moves: tuple[tuple[str, str, int], ...]
    litter: tuple[str, ...]
    path: str


class _HalfwayError(PlaceError):
    """Moves could be neither finished nor taken back; the journal stays for the next run."""


def aside(target: Path) -> Path:
    """Where a folder is for an instant on systems that cannot exchange two."""
    return target.with_name(_ASIDE + target.name)


def carry_out(journal: Journal, folder: Path) -> None:
    """Make all moves of ``journal``, which is kept in ``folder`` meanwhile, or none.

    Raises:
        SpaceError: the disk is full; nothing has moved.
        PlaceError: the system refuses; nothing has moved.
    """
    path = folder / _JOURNAL
    try:
        _write(path, journal)
        _make(journal.moves)
    except _HalfwayError:
        raise
    except BaseException:
        clear([path])
        raise
    clear([*journal.litter, path])


def read(folder: Path) -> Journal | None:
    """The journal that a killed run left in ``folder``; None where there is none.

    Raises:
        PlaceError: it is unreadable, another user's, or was put there from elsewhere.
    """
    path = folder / _JOURNAL
    if not check_own_file(path, "journal of an interrupted run"):
        return None
    try:
        document = canonical.loads(atomic.read(path, _LIMIT), path, _LIMIT)
        rows = decode(_JournalFile, document, path, "journal")
    except IntegrityError as error:
        raise PlaceError(
            "the journal of an interrupted run is unreadable",
            where=path,
            hint="look at the folders that are being replaced, then remove it",
        ) from error
    moves = tuple(Move(Path(source), Path(target), inode) for source, target, inode in rows.moves)
    journal = Journal(moves, tuple(map(Path, rows.litter)))
    if rows.path != str(path) or not all(map(_is_ours, journal.litter)):
        raise PlaceError(
            "the journal was not made here",
            where=path,
            got=rows.path,
            hint="see who put it there, then remove it",
        )
    return journal


def _is_ours(litter: Path) -> bool:
    """Whether something to be removed has a name that only we give."""
    return litter.is_absolute() and litter.name.startswith(atomic.TEMP_PREFIX)


def finish(journal: Journal, folder: Path) -> None:
    """Make what :func:`read` found in ``folder``.

    Raises:
        PlaceError: the system refuses.
    """
    _make(journal.moves)
    clear([*journal.litter, folder / _JOURNAL])


def sweep(folder: Path) -> None:
    """Remove a journal that was never finished."""
    clear([folder / _UNWRITTEN])


def clear(paths: Sequence[Path]) -> None:
    """Remove what is not needed any more; what cannot be removed now is left to the next run.

    In the given order, and no further than the first that cannot go: a journal comes last.
    """
    with contextlib.suppress(RepackError):
        for path in paths:
            atomic.remove(path)


def _write(path: Path, journal: Journal) -> None:
    # Not by atomic.write: its temporary names are random, and the next run must find this one.
    moves = tuple((str(move.source), str(move.target), move.inode) for move in journal.moves)
    rows = _JournalFile(moves, tuple(map(str, journal.litter)), str(path))
    unwritten = path.with_name(_UNWRITTEN)
    atomic.write_new(unwritten, json.dumps(encode(rows)).encode())
    atomic.flush([unwritten])
    with atomic.os_errors_at(path):
        atomic.rename(unwritten, path)
        atomic.sync_folder(path.parent)


def _make(moves: Sequence[Move]) -> None:
    """Make the moves that are pending; if one fails, take those of this run back."""
    finished: list[Move] = []
    try:
        for move in moves:
            with atomic.os_errors_at(move.target):
                if move.is_pending():
                    _move(move.source, move.target)
                    finished.append(move)
        # All of it must be on disk before the journal goes: without it nobody would finish them.
        for folder in {path.parent for move in moves for path in (move.source, move.target)}:
            with atomic.os_errors_at(folder):
                atomic.sync_folder(folder)
    except BaseException as error:
        for move in reversed(finished):
            try:
                _move(move.target, move.source)
            except (OSError, RepackError) as worse:
                raise _HalfwayError(
                    f"folders are exchanged in part, for {error}; and that could not be undone",
                    where=move.target,
                    got=worse,
                    hint="mend the cause and run again: the next run finishes this one",
                ) from error
        raise


def _move(source: Path, target: Path) -> None:
    """Let ``source`` be ``target``; a folder that was ``target`` is then ``source``."""
    if not target.exists():
        atomic.rename(source, target)
    elif not exchange.exchange(source, target):
        _exchange_by_renames(source, target, aside(target))


def _exchange_by_renames(source: Path, target: Path, between: Path) -> None:
    renamed: list[tuple[Path, Path]] = []
    try:
        for old, new in ((target, between), (source, target), (between, source)):
            atomic.rename(old, new)
            renamed.append((old, new))
    except BaseException:
        for old, new in reversed(renamed):
            atomic.rename(new, old)
        raise


def _inode(path: Path) -> int:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return -1
    return status.st_ino if stat.S_ISDIR(status.st_mode) else -1
