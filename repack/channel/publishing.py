"""In which order a release takes the place of the one before, wherever it is published.

A reader may come at any instant: between two of these steps, or after a power cut. So packages come
before the metadata that names them, the manifest, which pins all metadata, after everything else,
and what only the old release names goes last, when nobody reads the old metadata any more. A place
to publish is a :class:`PublishedStorage`; the order is :func:`publish_in_order` for all of them.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Final, Protocol

from repack.channel.layout import MANIFEST, publish_rank
from repack.conda.subdir import NOARCH
from repack.fs import atomic, beneath, exchange, links
from repack.fs.litter import is_litter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from repack.names import RelPath

# FAT keeps times in steps of 2 s; a client that caches by time must see that a file is new.
_MTIME_STEP_NS: Final = 2_000_000_000


class PublishedStorage(Protocol):
    """A place where a channel is published. All paths are relative to the channel.

    Each call returns when its files would survive a power cut. What a call puts appears whole.
    """

    def put_packages(self, paths: Sequence[str]) -> None:
        """Add packages; no metadata that readers see names them yet."""

    def put_metadata(self, paths: Sequence[str]) -> None:
        """Replace metadata files of one rank."""

    def switch(self, manifest: Sequence[str]) -> None:
        """Replace the manifest, or whatever makes readers see the new release.

        Args:
            manifest: its path; empty where it has not changed.
        """

    def remove(self, paths: Sequence[str]) -> None:
        """Remove what the new release does not have."""


def publish_in_order(
    storage: PublishedStorage,
    packages: Collection[str],
    texts: Collection[str],
    removed: Collection[str],
    before_removal: Callable[[], None] = lambda: None,
) -> None:
    """Let a release take the place of the one before.

    Args:
        packages: those that are new there.
        texts: metadata that is new or has changed there.
        removed: what is there and belongs to no release that stays.
        before_removal: waits for readers of the old release.
    """
    storage.put_packages(sorted(packages))
    metadata = sorted(set(texts) - {MANIFEST}, key=publish_rank)
    for _, group in groupby(metadata, key=lambda path: publish_rank(path)[0]):
        storage.put_metadata(list(group))
    storage.switch([MANIFEST] if MANIFEST in texts else [])
    before_removal()
    storage.remove(sorted(removed))


class FolderStorage:
    """A folder whose new files lie in a stage on the same volume: each is moved by one rename.

    Args:
        stage: holds the new files. Packages are flushed to disk, and those that it lacks are in
            ``dest``.
        dest: the channel that readers see.
        moved_to: where some of the removed files go, because others look for them there.
    """

    def __init__(self, stage: Path, dest: Path, moved_to: Mapping[str, Path] | None = None) -> None:
        self._stage, self._dest = stage, dest
        self._moved_to = moved_to or {}

    def put_packages(self, paths: Sequence[str]) -> None:
        """Move packages out of the stage."""
        self._move([path for path in paths if beneath.is_file(self._stage / path)])

    def put_metadata(self, paths: Sequence[str]) -> None:
        """Move metadata out of the stage."""
        for path in paths:
            renew_mtime(self._stage / path, self._dest / path)
        atomic.flush([self._stage / path for path in paths])
        self._move(paths)

    def switch(self, manifest: Sequence[str]) -> None:
        """Move the manifest out of the stage."""
        self.put_metadata(manifest)

    def _move(self, paths: Sequence[str]) -> None:
        for path in paths:
            target = self._dest / path
            with atomic.os_errors_at(target):
                beneath.make_folders(target.parent)
                atomic.rename(self._stage / path, target)
        # The next rank must not be on disk before this one: renames in different folders reach
        # the disk in any order unless each folder is flushed.
        atomic.flush({(self._dest / path).parent for path in paths})

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files, and folders that are empty without them."""
        for path in paths:
            if (new_place := self._moved_to.get(path)) is None:
                atomic.remove(self._dest / path)
                continue
            with atomic.os_errors_at(new_place):
                beneath.make_folders(new_place.parent)
                atomic.rename(self._dest / path, new_place)
        for folder in {(self._dest / path).parent for path in paths}:
            _remove_empty(self._dest, folder)


class ExchangedStorage:
    """A folder that changes places with a stage that holds the whole new channel.

    Where the file system refuses that at the last moment, the files are moved one by one.
    """

    def __init__(self, stage: Path, dest: Path, removed: Collection[str]) -> None:
        self._stage, self._dest, self._removed = stage, dest, removed
        self._plain = FolderStorage(stage, dest)
        self._packages: Sequence[str] = ()
        self._metadata: list[str] = []

    def put_packages(self, paths: Sequence[str]) -> None:
        """Nothing yet: the stage is whole."""
        self._packages = paths

    def put_metadata(self, paths: Sequence[str]) -> None:
        """Nothing yet: the stage is whole."""
        self._metadata += paths

    def switch(self, manifest: Sequence[str]) -> None:
        """Exchange the folders."""
        texts = [*self._metadata, *manifest]
        for path in texts:
            renew_mtime(self._stage / path, self._dest / path)
        # A reader that took the old repodata a moment ago still wants the old packages.
        for path in self._removed:
            if beneath.is_file(self._dest / path):
                with atomic.os_errors_at(self._stage / path):
                    beneath.make_folders((self._stage / path).parent)
                links.place(self._dest / path, self._stage / path)
        atomic.flush([self._stage / path for path in texts] + folders_below(self._stage))
        if exchange.exchange(self._stage, self._dest):
            # The stage is the old channel now, and what others dropped into that stays theirs.
            for path in list(_litter(self._stage)):
                with contextlib.suppress(OSError):
                    beneath.make_folders((self._dest / path).parent)
                    beneath.rename(self._stage / path, self._dest / path)
            return
        self._plain.put_packages(self._packages)
        for text in texts:  # still in the order of their ranks
            self._plain.put_metadata([text])

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files, and folders that are empty without them."""
        self._plain.remove(paths)


def write_texts(folder: Path, texts: Mapping[RelPath, bytes]) -> None:
    """Write metadata files below a stage; several at once, since each waits for the disk.

    Raises as :func:`repack.fs.atomic.write_new` does.
    """

    def write(path: RelPath) -> None:
        atomic.write_new(folder / path, texts[path], atomic.file_mode(path))

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(write, sorted(texts)):
            continue


def renew_mtime(new: Path, old: Path) -> None:
    """Give ``new`` the time of the file it replaces, or a time at least two seconds later.

    A client that asks "changed since?" must be told so if the content differs, and only then.
    """
    try:
        before = beneath.status(old)
    except OSError:
        return
    with atomic.os_errors_at(new):
        if before.st_size == beneath.status(new).st_size and _is_same(old, new, before.st_size):
            beneath.set_times(new, (before.st_atime_ns, before.st_mtime_ns))
        else:
            moment = max(time.time_ns(), before.st_mtime_ns + _MTIME_STEP_NS)
            beneath.set_times(new, (moment, moment))


def _is_same(old: Path, new: Path, size: int) -> bool:
    return atomic.read(old, size) == atomic.read(new, size)


def _remove_empty(root: Path, folder: Path) -> None:
    while root in folder.parents and folder != root / NOARCH:
        try:
            beneath.remove_folder(folder)
        except OSError:
            return
        folder = folder.parent


def folders_below(folder: Path) -> list[Path]:
    """``folder`` and every folder in it, to be flushed."""
    found = [folder]
    for parent in found:
        with atomic.os_errors_at(parent):
            inner = beneath.scan(parent)
        found += [parent / entry.name for entry in inner if entry.kind == "folder"]
    return found


def _litter(folder: Path) -> Iterator[str]:
    """What other systems dropped below ``folder``: paths there, nothing inside of litter."""
    waiting = [""]
    while waiting:
        at = waiting.pop()
        with atomic.os_errors_at(folder / at):
            inner = beneath.scan(folder / at)
        yield from (at + e.name for e in inner if e.kind != "odd" and is_litter(e.name))
        waiting += [
            f"{at}{entry.name}/"
            for entry in inner
            if entry.kind == "folder" and not is_litter(entry.name)
        ]
