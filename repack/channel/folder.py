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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from repack import urls
from repack.channel import integrity
from repack.channel.layout import INTEGRITY_PATH, MANIFEST
from repack.channel.publishing import (
    ExchangedStorage,
    FolderStorage,
    PublishedStorage,
    folders_below,
    publish_in_order,
    write_texts,
)
from repack.conda.record import Record
from repack.conda.repodata import read_rows
from repack.conda.subdir import ARCHIVE_FOLDERS
from repack.errors import IntegrityError, RepackError
from repack.fs import atomic, beneath, digests, exchange, links, locks
from repack.fs.walk import read_or_none, walk
from repack.label.agent import AGENT_PACKAGE
from repack.names import Digest, LabelName, RelPath

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class ChannelTree(Struct, frozen=True):
    """Every file of a channel.

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


class DamagedPackagesError(IntegrityError):
    """Packages that are to be published have other bytes than the release lists.

    Attributes:
        digests: the SHA-256 that they should have.
    """

    kind = "damaged-packages"

    def __init__(self, what: str, *, digests: frozenset[Digest], **details: Any) -> None:
        super().__init__(what, **details)
        self.digests = digests


class Channels:
    """The folder that holds every label's channel.

    Args:
        root: such as ``channels/``.
        beside: where channels are staged, if not below ``root``; on the same file system.
    """

    def __init__(self, root: Path, beside: Path | None = None) -> None:
        self.root = beneath.guard(root.absolute())
        self._beside = beneath.guard(beside.absolute()) if beside else self.root

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
        """A folder in which a run that was cut off leaves files for the next run."""
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
        return locks.exclusive(path, f"a build of label {label!r}", shared=True)

    def releases(self, label: LabelName) -> tuple[int, ...]:
        """The numbers of the releases whose metadata is kept, in order."""
        folder = self.history(label)
        with atomic.os_errors_at(folder):
            kept = beneath.scan_if_there(folder)
        return tuple(sorted(int(entry.name) for entry in kept if entry.name.isdecimal()))

    def text(self, label: LabelName, path: str) -> bytes | None:
        """A metadata file of the published channel, or None when it is not there."""
        return read_or_none(self.published(label) / path)

    def stage(self, label: LabelName, tree: ChannelTree) -> Path:
        """Lay ``tree`` out beside the published channel and return the folder.

        Raises:
            SpaceError: the disk is full; the published channel is as it was.
            DamagedPackagesError: a package has other bytes than the release lists.
        """
        folder = self._staged(label)
        atomic.remove(folder)
        with atomic.os_errors_at(folder):
            for path in {Path(name).parent for name in tree.paths} | set(ARCHIVE_FOLDERS):
                beneath.make_folders(folder / path)
        in_place = self._packages_in_place(label, tree)
        for path, source in tree.packages.items():
            if path not in in_place:
                links.place(source, folder / path)
        write_texts(folder, tree.texts)
        self._read_staged(label, tree)
        return folder

    def _read_staged(self, label: LabelName, tree: ChannelTree) -> None:
        """Hash every package that is going to be published, whatever its time says.

        Raises:
            DamagedPackagesError: some are not what the list of the release says.
        """
        data = tree.texts.get(RelPath(INTEGRITY_PATH))
        if data is None:
            return
        entries, staged = integrity.parse(data, INTEGRITY_PATH), self._staged(label)

        def is_wrong(path: RelPath) -> bool:
            file = staged / path if (staged / path).is_file() else tree.packages[path]
            return digests.digest(file)[0] != entries[path].sha256

        paths = sorted(path for path in tree.packages if path in entries)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            wrong = [
                path for path, bad in zip(paths, pool.map(is_wrong, paths), strict=True) if bad
            ]
        if wrong:
            raise DamagedPackagesError(
                "packages are not what they were when they were hashed",
                where=staged,
                got=", ".join(wrong[:5]),
                hint="the disk or the memory is bad; `repack store verify` reads everything",
                digests=frozenset(entries[path].sha256 for path in wrong),
            )

    def _packages_in_place(self, label: LabelName, tree: ChannelTree) -> frozenset[RelPath]:
        """Packages that stay where they are: without links, a copy would take their space again."""
        if links.can_link(self._staged(label)):
            return frozenset()
        published = self.published(label)
        return frozenset(p for p, source in tree.packages.items() if source == published / p)

    def unstaged(self, label: LabelName, tree: ChannelTree) -> frozenset[str]:
        """Packages of the tree that :meth:`stage` left where they are in the published channel."""
        folder = self._staged(label)
        return frozenset(path for path in tree.packages if not beneath.is_file(folder / path))

    @contextlib.contextmanager
    def staged(self, label: LabelName, tree: ChannelTree) -> Iterator[Path]:
        """:meth:`stage` the tree for the block; if that fails, nothing of it stays.

        Raises:
            SpaceError: the disk is full; the published channel is as it was.
        """
        try:
            yield self.stage(label, tree)
        except BaseException:
            # What cannot be removed now is by the next build; the first error is the one to tell.
            with contextlib.suppress(RepackError):
                self.discard(label)
            raise

    def discard(self, label: LabelName) -> None:
        """Remove what is staged, and the place for staging if nothing else is in it."""
        atomic.remove(self._staged(label))
        with contextlib.suppress(OSError):
            beneath.remove_folder(self._staged(label).parent)

    def publish(self, label: LabelName, tree: ChannelTree) -> None:
        """Make the staged channel the published one.

        Raises:
            SpaceError: the disk is full; the published channel works as before.
        """
        staged, published = self._staged(label), self.published(label)
        if not beneath.exists(published):
            # Archives were flushed when the store took them in.
            atomic.flush([staged / path for path in tree.texts] + folders_below(staged))
            with atomic.os_errors_at(published):
                beneath.rename(staged, published)
                atomic.sync_folder(self.root)
            self.discard(label)
            return
        removed = sorted(set(walk(published)) - tree.paths)
        storage: PublishedStorage = FolderStorage(staged, published)
        is_beside = published not in staged.parents
        if is_beside and not self.unstaged(label, tree) and exchange.can_exchange(self.root):
            storage = ExchangedStorage(staged, published, removed)
        publish_in_order(storage, tree.packages, tree.texts, removed)
        self.discard(label)

    def remember(self, label: LabelName, release: int, texts: Mapping[RelPath, bytes]) -> None:
        """Keep a release's metadata, all or nothing."""
        target = self.history(label) / str(release)
        beside = self.history(label) / f"{atomic.TEMP_PREFIX}{release}"
        atomic.remove(beside)
        with atomic.os_errors_at(beside):
            beneath.make_folders(beside)
        write_texts(beside, texts)
        atomic.remove(target)
        with atomic.os_errors_at(target):
            beneath.rename(beside, target)

    def recall(self, label: LabelName, release: int) -> dict[RelPath, bytes]:
        """A past release's metadata, by path in the channel.

        Raises:
            IntegrityError: nothing is kept of that release, or not its manifest.
        """
        folder = self.history(label) / str(release)
        if not beneath.is_file(folder / MANIFEST):
            raise IntegrityError("nothing whole is kept of that release", where=folder)
        return {RelPath(path): read_or_none(folder / path) or b"" for path in walk(folder)}

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
