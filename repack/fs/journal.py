"""Moves of folders that happen all or not at all, a kill at any instant included.

A journal beside the folders says which folder, told by its inode, is to be where. Once it is
written, the moves will be made: by this run, or by the next one that finds it. A folder is
exchanged with the one in its place by one rename (``renameat2`` with ``RENAME_EXCHANGE`` on Linux),
so a reader sees the old one or the new one at any instant; where the system has no such call, two
renames follow each other.

When folders of several parents are moved, the journal is in the first one, and pointers to it are
in the others, written before it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.codec import canonical
from repack.errors import IntegrityError, PlaceError, RepackError
from repack.fs import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

_JOURNAL: Final = f"{atomic.TEMP_PREFIX}swap.json"
_UNWRITTEN: Final = f"{atomic.TEMP_PREFIX}swap.new"
_ASIDE: Final = f"{atomic.TEMP_PREFIX}old-"
_LIMIT: Final = 1 << 20
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NO_EXCHANGE: Final = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


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

    def pending(self) -> bool:
        """Whether there is something left to do."""
        return _inode(self.target) != self.inode and _inode(self.source) == self.inode


class JournalPlan(Struct, frozen=True):
    """What a journal holds.

    Attributes:
        litter: removed once all moves are made.
    """

    moves: tuple[Move, ...]
    litter: tuple[Path, ...]

    def to_bytes(self) -> bytes:
        """The journal."""
        moves = [[str(move.source), str(move.target), move.inode] for move in self.moves]
        return json.dumps({"moves": moves, "litter": [str(path) for path in self.litter]}).encode()


class _HalfwayError(PlaceError):
    """Moves could be neither finished nor taken back; the journal stays for the next run."""


def aside(target: Path) -> Path:
    """Where a folder is for an instant on systems that cannot exchange two."""
    return target.with_name(_ASIDE + target.name)


def carry_out(plan: JournalPlan, folders: Sequence[Path]) -> None:
    """Make all moves of ``plan``, or none.

    Args:
        folders: the parents of all targets; the journal goes into the first.

    Raises:
        SpaceError: the disk is full; nothing has moved.
        PlaceError: the system refuses; nothing has moved.
    """
    journal, *pointers = [folder / _JOURNAL for folder in folders]
    try:
        for pointer in pointers:
            _write(pointer, json.dumps({"journal": str(journal)}).encode())
        _write(journal, plan.to_bytes())
        _make(plan.moves)
    except _HalfwayError:
        raise
    except BaseException:
        clear([journal, *pointers])
        raise
    clear([*plan.litter, journal, *pointers])


def points_to(folder: Path) -> Path | None:
    """The folder whose journal says what was going on in ``folder`` when a run was killed."""
    document = _load(folder / _JOURNAL)
    if "journal" in document:
        there = document["journal"]
        if not isinstance(there, str) or not Path(there).is_absolute():
            raise _unreadable(folder / _JOURNAL)
        return Path(there).parent
    return folder if document else None


def recover(folder: Path) -> None:
    """Finish what the journal in ``folder`` says, if there is one.

    Raises:
        PlaceError: the journal is unreadable, or the system refuses.
    """
    journal = folder / _JOURNAL
    document = _load(journal)
    if "journal" in document:
        atomic.remove(journal)  # what it points to was recovered first
    elif document:
        plan = _plan(document, journal)
        _make(plan.moves)
        clear([*plan.litter, journal])


def sweep(folder: Path) -> None:
    """Remove a journal that was never finished."""
    clear([folder / _UNWRITTEN])


def clear(paths: Sequence[Path]) -> None:
    """Remove what is not needed any more; what cannot go now, goes in the next run.

    In the given order, and no further than the first that cannot go: a journal comes last.
    """
    with contextlib.suppress(RepackError):
        for path in paths:
            atomic.remove(path)


def _write(path: Path, data: bytes) -> None:
    """Write a journal under a name that the next run knows, unlike :func:`files.write`."""
    unwritten = path.with_name(_UNWRITTEN)
    atomic.write_new(unwritten, data)
    atomic.flush([unwritten])
    with atomic.os_errors_at(path):
        atomic.rename(unwritten, path)
        atomic.sync_folder(path.parent)


def _make(moves: Sequence[Move]) -> None:
    made: list[Move] = []
    try:
        for move in moves:
            with atomic.os_errors_at(move.target):
                if move.pending():
                    _move(move.source, move.target)
                    made.append(move)
        for folder in {path.parent for move in moves for path in (move.source, move.target)}:
            with atomic.os_errors_at(folder):
                atomic.sync_folder(folder)
    except BaseException as error:
        for move in reversed(made):
            try:
                _move(move.target, move.source)
            except OSError as worse:
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
    elif not _exchanged(source, target):
        _exchange_by_renames(source, target, aside(target))


def _exchange_by_renames(source: Path, target: Path, between: Path) -> None:
    done: list[tuple[Path, Path]] = []
    try:
        for here, there in ((target, between), (source, target), (between, source)):
            atomic.rename(here, there)
            done.append((here, there))
    except BaseException:
        for here, there in reversed(done):
            atomic.rename(there, here)
        raise


def _exchanged(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:  # glibc before 2.28
        return False
    names = (_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target))
    if call(*names, _RENAME_EXCHANGE) == 0:
        return True
    if (code := ctypes.get_errno()) in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(target))


def _load(journal: Path) -> dict[str, object]:
    if not journal.is_file():
        return {}
    try:
        found = canonical.loads(atomic.read(journal, _LIMIT), journal, _LIMIT)
    except IntegrityError:
        found = None
    return found if isinstance(found, dict) and found else {"moves": None}


def _plan(document: dict[str, object], journal: Path) -> JournalPlan:
    try:
        moves = [Move(Path(a), Path(b), int(c)) for a, b, c in document["moves"]]  # type: ignore[attr-defined]
        litter = [Path(path) for path in document["litter"]]  # type: ignore[attr-defined]
    except (LookupError, TypeError, ValueError) as fault:
        raise _unreadable(journal) from fault
    return JournalPlan(tuple(moves), tuple(litter))


def _unreadable(journal: Path) -> PlaceError:
    return PlaceError(
        "the journal of an interrupted run is unreadable",
        where=journal,
        hint="look at the folders beside it, then remove it",
    )


def _inode(path: Path) -> int:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return -1
    return status.st_ino if stat.S_ISDIR(status.st_mode) else -1
