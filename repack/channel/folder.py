"""Channels on disk: the published folder, the one being staged, the releases before.

Rules of this module:

- A channel is staged whole beside the published one and exchanged with it in one system call,
  where the system has one; a mount point, a share or Windows gets the ordered way instead:
  packages, then metadata, then removals. In both a reader finds every package that the repodata
  names, at any instant, and a crash leaves the old or the new channel.
- Packages that go stay until after the switch.
- A published channel holds plain files only. Litter of other systems is not ours: it is neither
  removed nor counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from repack import urls
from repack.channel.layout import publish_rank
from repack.conda.record import Record
from repack.conda.repodata import read_rows
from repack.conda.subdir import ARCHIVE_FOLDERS
from repack.errors import IntegrityError
from repack.fs import atomic, exchange, links, locks
from repack.fs.litter import is_litter
from repack.fs.walk import read_or_none, walk
from repack.label.agent import AGENT_PACKAGE
from repack.names import LabelName, RelPath

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# FAT keeps times in steps of 2 s; a client that caches by time must see that a file is new.
_MTIME_STEP: Final = 2.0


class ChannelTree(Struct, frozen=True):
    """Everything a channel holds.

    Attributes:
        packages: path in the channel -> the archive's file in the store.
        texts: path in the channel -> content.
    """

    packages: Mapping[RelPath, Path]
    texts: Mapping[RelPath, bytes]

    @property
    def paths(self) -> frozenset[str]:
        """Every path of the channel."""
        return frozenset(self.packages) | frozenset(self.texts)


class Channels:
    """The folder that holds every label's channel.

    Args:
        root: such as ``channels/``.
        beside: where channels are staged, if not below ``root``; on the same file system.
    """

    def __init__(self, root: Path, beside: Path | None = None) -> None:
        self.root = root.absolute()
        self._beside = beside or self.root

    @classmethod
    def around(cls, folder: Path) -> tuple[Channels, LabelName]:
        """The folder that holds the channel ``folder``, and the name the channel has there.

        A channel that is a mount point, or whose parent cannot be written, is staged inside
        itself, under a name that readers ignore.
        """
        folder = folder.resolve()
        # A customer calls a channel's folder what he likes; nothing is made of the name but paths.
        name = str.__new__(LabelName, folder.name)
        inside = os.path.ismount(folder) or not os.access(folder.parent, os.W_OK)
        return cls(folder.parent, folder / f"{atomic.TEMP_PREFIX}beside" if inside else None), name

    def work(self, label: LabelName) -> Path:
        """A folder for what a cut-off run leaves to the next one."""
        return self._beside / ".staging" / f"{label}.work"

    def published(self, label: LabelName) -> Path:
        """The folder the customer copies."""
        return self.root / label

    def history(self, label: LabelName) -> Path:
        """The folder of past releases' metadata, one folder a release."""
        return self.root / ".history" / label

    def _staged(self, label: LabelName) -> Path:
        return self._beside / ".staging" / label

    def tidy(self) -> None:
        """Remove the place for staging where it is inside the channel."""
        if self._beside != self.root:
            atomic.remove(self._beside)

    def exclusive(self, label: LabelName) -> contextlib.AbstractContextManager[object]:
        """Hold the label while the block runs.

        Raises:
            BusyError: another build of the label is running.
        """
        path = self._beside / ".locks" / f"{label}.lock"
        return locks.exclusive(path, f"a build of label {label!r}")

    def releases(self, label: LabelName) -> tuple[int, ...]:
        """The numbers of the releases whose metadata is kept, in order."""
        folder = self.history(label)
        kept = folder.iterdir() if folder.is_dir() else ()
        return tuple(sorted(int(path.name) for path in kept if path.name.isdecimal()))

    def text(self, label: LabelName, path: str) -> bytes | None:
        """A metadata file of the published channel, or None when it is not there."""
        return read_or_none(self.published(label) / path)

    def stage(self, label: LabelName, tree: ChannelTree) -> Path:
        """Lay ``tree`` out beside the published channel and return the folder.

        Raises:
            SpaceError: the disk is full; the published channel is as it was.
        """
        folder = self._staged(label)
        atomic.remove(folder)
        with atomic.os_errors_at(folder):
            for path in {Path(name).parent for name in tree.paths} | set(ARCHIVE_FOLDERS):
                (folder / path).mkdir(parents=True, exist_ok=True)
        lasting = self._lasting(label, tree)
        for path, source in tree.packages.items():
            if path not in lasting:
                links.place(source, folder / path)
        add_texts(folder, tree.texts)
        return folder

    def _lasting(self, label: LabelName, tree: ChannelTree) -> frozenset[RelPath]:
        """Packages that stay where they are: without links, a copy would take their space again."""
        if links.can_link(self._staged(label)):
            return frozenset()
        published = self.published(label)
        return frozenset(p for p, source in tree.packages.items() if source == published / p)

    def unstaged(self, label: LabelName, tree: ChannelTree) -> frozenset[str]:
        """Packages of the tree that :meth:`stage` left where they are in the published channel."""
        folder = self._staged(label)
        return frozenset(path for path in tree.packages if not (folder / path).is_file())

    def discard(self, label: LabelName) -> None:
        """Remove what is staged."""
        atomic.remove(self._staged(label))

    def publish(self, label: LabelName, tree: ChannelTree) -> None:
        """Make the staged channel the published one.

        Raises:
            SpaceError: the disk is full; the published channel works as before.
        """
        staged, published = self._staged(label), self.published(label)
        _touch_changed(staged, published, tree)
        if not published.exists():
            _flush(staged, tree)
            with atomic.os_errors_at(published):
                staged.rename(published)
                atomic.sync_folder(self.root)
            return
        removed = sorted(set(walk(published)) - tree.paths)
        whole = not self.unstaged(label, tree)
        if not (whole and self._exchange(staged, published, tree, removed)):
            _publish_in_order(staged, published, tree)
        for path in removed:
            atomic.remove(published / path)
        _remove_empty_folders(published, tree)
        atomic.remove(staged)

    def _exchange(
        self, staged: Path, published: Path, tree: ChannelTree, removed: list[str]
    ) -> bool:
        """Swap the two folders in one step; False where the system cannot."""
        if published in staged.parents or not exchange.can_exchange(self.root):
            return False
        # A reader that took the old repodata a moment ago still wants the old packages.
        for path in removed:
            if (published / path).is_file():
                with atomic.os_errors_at(staged / path):
                    (staged / path).parent.mkdir(parents=True, exist_ok=True)
                links.place(published / path, staged / path)
        for litter in _litter(published):
            with contextlib.suppress(OSError):
                (staged / litter).parent.mkdir(parents=True, exist_ok=True)
                (published / litter).rename(staged / litter)
        _flush(staged, tree)
        return exchange.exchange(staged, published)

    def remember(self, label: LabelName, release: int, texts: Mapping[RelPath, bytes]) -> None:
        """Keep a release's metadata, all or nothing."""
        target = self.history(label) / str(release)
        beside = self.history(label) / f"{atomic.TEMP_PREFIX}{release}"
        atomic.remove(beside)
        with atomic.os_errors_at(beside):
            beside.mkdir(parents=True)
        add_texts(beside, texts)
        atomic.remove(target)
        with atomic.os_errors_at(target):
            beside.rename(target)

    def recall(self, label: LabelName, release: int) -> dict[RelPath, bytes]:
        """A past release's metadata, by path in the channel.

        Raises:
            UsageError: see the caller; IntegrityError: nothing is kept of that release.
        """
        folder = self.history(label) / str(release)
        if not folder.is_dir():
            raise IntegrityError("nothing is kept of that release", where=folder)
        return {RelPath(path): (folder / path).read_bytes() for path in walk(folder)}

    def remembered(self, label: LabelName, release: int, path: str) -> bytes | None:
        """One metadata file of a past release, or None when it is not kept."""
        return read_or_none(self.history(label) / str(release) / path)

    def own_records(self, label: LabelName) -> tuple[Record, ...]:
        """Records of packages made for the label, in the published channel and in its history."""
        folders = [self.published(label)]
        folders += [self.history(label) / str(number) for number in self.releases(label)]
        return tuple(
            Record.of(raw, fn, urls.folder_url(folder))
            for folder in folders
            for fn, raw in _noarch(folder).items()
            if fn.startswith((f"{label}-", f"{AGENT_PACKAGE}-"))
        )

    def forget(self, label: LabelName, keep: int, current: int) -> None:
        """Drop all but the newest ``keep`` releases; ``current`` always stays."""
        for release in self.releases(label)[: -max(keep, 1)]:
            if release != current:
                atomic.remove(self.history(label) / str(release))


def _noarch(folder: Path) -> dict[str, Any]:
    data = read_or_none(folder / "noarch" / "repodata.json")
    return read_rows(json.loads(data), folder) if data else {}


def _litter(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        base = Path(here).relative_to(folder)
        found = [name for name in [*folders, *names] if is_litter(name)]
        folders[:] = [name for name in folders if not is_litter(name)]
        yield from ((base / name).as_posix() for name in found)


def add_texts(folder: Path, texts: Mapping[RelPath, bytes]) -> None:
    """Write metadata files below ``folder``; several at once, since each waits for the disk."""

    def add(path: RelPath) -> None:
        mode = 0o755 if path.endswith(".sh") else 0o644
        atomic.write_new(folder / path, texts[path], mode)

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(add, sorted(texts)):
            continue


def _touch_changed(staged: Path, published: Path, tree: ChannelTree) -> None:
    for path in tree.texts:
        old, new = published / path, staged / path
        try:
            before = old.stat()
        except OSError:
            continue
        if before.st_size == len(tree.texts[path]) and old.read_bytes() == tree.texts[path]:
            os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        else:
            moment = max(time.time(), before.st_mtime + _MTIME_STEP)
            os.utime(new, (moment, moment))


def _folders(folder: Path) -> list[Path]:
    return [Path(here) for here, _, _ in os.walk(folder)]


def _flush(staged: Path, tree: ChannelTree) -> None:
    # Archives were flushed when the store took them in.
    atomic.flush([staged / path for path in tree.texts] + _folders(staged))


def _publish_in_order(staged: Path, published: Path, tree: ChannelTree) -> None:
    for path in sorted(tree.packages):
        if tree.packages[path] != published / path:
            with atomic.os_errors_at(published / path):
                (published / path).parent.mkdir(parents=True, exist_ok=True)
            links.place(staged / path, published / path)
    _flush(staged, tree)
    for path in sorted(tree.texts, key=publish_rank):
        with atomic.os_errors_at(published / path):
            (published / path).parent.mkdir(parents=True, exist_ok=True)
            atomic.rename(staged / path, published / path)
    atomic.flush(_folders(published))


def _remove_empty_folders(published: Path, tree: ChannelTree) -> None:
    wanted = {Path(name).parent for name in tree.paths} | {Path(name) for name in ARCHIVE_FOLDERS}
    wanted |= {parent for folder in wanted for parent in folder.parents}
    for here, _, _ in os.walk(published, topdown=False):
        if Path(here).relative_to(published) not in wanted:
            with contextlib.suppress(OSError):
                Path(here).rmdir()
