"""Replaces folders by new ones, all of them or none, whatever happens on the way.

The new folders are built beside the old ones, the backups beside their names; then
:mod:`repack.fs.journal` moves them all into place. Only names that begin with ``.repack-`` are
used, and none is left behind. The journal is in the folder of the backups: the one place that two
runs over different folders have in common.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.errors import PlaceError, UsageError
from repack.fs import atomic, journal, links, locks
from repack.fs.ownership import readable_for_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NEW: Final = f"{atomic.TEMP_PREFIX}new-"
_PART: Final = f"{atomic.TEMP_PREFIX}part-"
_LOCK: Final = f"{atomic.TEMP_PREFIX}lock"


class Exchange(Struct, frozen=True):
    """One folder to be replaced.

    Attributes:
        target: absolute, links resolved; need not exist yet.
        backup: where the old folder's copy goes, if there is an old folder; a number is added when
            that name is taken. All backups of one call lie in one folder.
    """

    target: Path
    backup: Path

    @property
    def new(self) -> Path:
        """Where the new folder is built."""
        return self.target.with_name(_NEW + self.target.name)


@contextlib.contextmanager
def exchanging(exchanges: Sequence[Exchange], what: str) -> Iterator[dict[Path, Path]]:
    """Let the block fill the new folders (``Exchange.new``), then exchange them all.

    First finishes what a killed run left. When the block ends well, every target is its new
    folder, and every old folder that was there is in its backup, which was complete before the
    first exchange. When the block raises, nothing has changed.

    Args:
        what: what is going on, for whoever else tries it now.

    Yields:
        Target -> backup, filled when the block has ended well.

    Raises:
        BusyError: another run works beside the same folders.
        SpaceError: the disk is full; nothing has changed.
        PlaceError: the system refuses; nothing has changed.
        UsageError: the folders lie in each other.
    """
    _check_apart(exchanges)
    backups: dict[Path, Path] = {}
    home = exchanges[0].backup.parent
    folders = sorted({home, *(exchange.target.parent for exchange in exchanges)})
    with contextlib.ExitStack() as locked:
        locked.enter_context(readable_for_all())
        for folder in folders:
            with atomic.os_errors_at(folder):
                folder.mkdir(parents=True, exist_ok=True)
            locked.enter_context(_locked(folder, what))
        if (interrupted := journal.read(home)) is not None:
            # It may have moved folders elsewhere, in which another run may be at work now.
            for folder in {move.target.parent for move in interrupted.moves}.difference(folders):
                locked.enter_context(_locked(folder, what))
            journal.finish(interrupted, home)
        _sweep(exchanges, home)
        try:
            for exchange in exchanges:
                with atomic.os_errors_at(exchange.new):
                    exchange.new.mkdir()
            yield backups
            plan, copied = _plan(exchanges)
            journal.carry_out(plan, home)
            backups |= copied
        except BaseException:
            if journal.read(home) is None:
                _sweep(exchanges, home)
            raise


def _check_apart(exchanges: Sequence[Exchange]) -> None:
    for exchange in exchanges:
        target = exchange.target
        apart = [e.target for e in exchanges if e is not exchange] + [exchange.backup.parent]
        for folder in apart:
            if folder == target or target in folder.parents:
                raise UsageError(f"{folder} lies in {target}", hint="take folders side by side")
        if target.exists() and not target.is_dir():
            raise PlaceError("is no folder", where=target)
        if os.path.ismount(target):
            raise PlaceError(
                "is a mount point and cannot be exchanged", where=target, hint="take a folder in it"
            )


def _plan(exchanges: Sequence[Exchange]) -> tuple[journal.Journal, dict[Path, Path]]:
    """Make the backups, and get everything to disk."""
    moves: list[journal.Move] = []  # the backups first
    fresh: list[Path] = []
    backups: dict[Path, Path] = {}
    for exchange in exchanges:
        fresh += [exchange.new, *(path for path, _ in walk(exchange.new))]
        if exchange.target.is_dir():
            backup = backups[exchange.target] = _free(exchange.backup)
            part = backup.with_name(_PART + backup.name)
            fresh += copy_tree(exchange.target, part)
            with atomic.os_errors_at(exchange.new):
                shutil.copymode(exchange.target, exchange.new)
            moves.append(journal.Move.of(part, backup))
    moves += [journal.Move.of(exchange.new, exchange.target) for exchange in exchanges]
    atomic.flush(fresh)
    litter = [path for e in exchanges for path in (e.new, journal.aside(e.target))]
    return journal.Journal(tuple(moves), tuple(litter)), backups


def _free(path: Path) -> Path:
    """A name like ``path`` that is not taken: two runs may end in the same second."""
    free, number = path, 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def copy_tree(source: Path, target: Path) -> list[Path]:
    """Copy a folder: files as hard links where the system has them, symbolic links as such.

    Returns:
        The paths to be flushed for the copy to last.

    Raises:
        SpaceError: the disk is full.
        PlaceError: it holds a device, a pipe or a socket, or the system refuses.
    """
    folders, copied = [(source, target)], []
    with atomic.os_errors_at(target):
        target.mkdir()
    for path, entry in walk(source):
        copy = target / path.relative_to(source)
        with atomic.os_errors_at(path):
            if entry.is_symlink():
                copy.symlink_to(path.readlink())
            elif entry.is_dir(follow_symlinks=False):
                copy.mkdir()
                folders.append((path, copy))
            elif not entry.is_file(follow_symlinks=False):
                raise PlaceError("is no plain file and cannot be backed up", where=path)
            elif links.place(path, copy) != "link":
                shutil.copystat(path, copy)
                copied.append(copy)
    for path, copy in folders:  # last, for filling a folder changes its time
        with atomic.os_errors_at(path):
            shutil.copystat(path, copy)
    return [*copied, *(copy for _, copy in folders)]


def walk(folder: Path) -> Iterator[tuple[Path, os.DirEntry[str]]]:
    """Everything in a folder, folders before what they hold; links are not followed.

    Raises:
        PlaceError: a folder cannot be read.
    """
    with atomic.os_errors_at(folder):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        yield Path(entry.path), entry
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))


def _sweep(exchanges: Sequence[Exchange], home: Path) -> None:
    """Remove what a run left that was killed before it wrote its journal."""
    for exchange in exchanges:
        old = journal.aside(exchange.target)
        # A killed run that kept its journal in another folder of backups: its folder comes back.
        if old.is_dir() and not exchange.target.exists():
            with atomic.os_errors_at(exchange.target):
                atomic.rename(old, exchange.target)
        journal.clear([exchange.new, old])
    journal.sweep(home)
    journal.clear(list(home.glob(f"{_PART}*")))


def _locked(folder: Path, what: str) -> contextlib.AbstractContextManager[int]:
    """Lock a folder against other runs; the system frees it if the process dies.

    Not by locking the folder itself: whoever may read it could hold that against us. The file goes
    when the run ends, so that none is left in somebody's data.
    """
    return locks.exclusive(folder / _LOCK, what, fleeting=True)
