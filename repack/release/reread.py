"""Read archives again, whatever their times say, and put right what is found damaged.

An unchanged build believes size and time of archives that were hashed before, which is why it takes a
moment. A flipped bit changes neither. So every twentieth build of a label, and any with
``--paranoid``, reads all of them; what is staged is read in any case, see
:meth:`repack.channel.folder.Channels.stage`; and what a check of the store found damaged is looked
for in the channel and in its history by the next build.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from repack.channel import manifest
from repack.channel.folder import DamagedPackagesError
from repack.channel.layout import MANIFEST
from repack.errors import IntegrityError, RepackError
from repack.fs import atomic, digests
from repack.store.fetch import fetch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from repack.channel.manifest import Manifest
    from repack.conda.record import Record
    from repack.names import Digest, RelPath
    from repack.release.context import BuildContext
    from repack.store.store import Store

EVERY: Final = 20  # builds of a label, after which one reads everything
_COUNT_LIMIT: Final = 32


def is_due(context: BuildContext) -> bool:
    """Whether this build reads every archive again; counts it in any case.

    Raises:
        SpaceError: the disk is full.
        PlaceError: the store cannot be written.
    """
    path = context.store.root / "reads" / context.key
    try:
        count = int(atomic.read(path, _COUNT_LIMIT))
    except (RepackError, ValueError):
        count = 0
    due = context.settings.paranoid or not 0 <= count < EVERY - 1
    atomic.write_cached(path, b"0\n" if due else b"%d\n" % (count + 1))
    return due


def reread(digests_to_read: Iterable[Digest], store: Store) -> int:
    """Hash archives of the store; those that are wrong are dropped, so that they are fetched.

    Returns:
        How many were dropped.

    Raises:
        PlaceError: the store cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        stored = [sha for sha in dict.fromkeys(digests_to_read) if store.path(sha).is_file()]
        return sum(size is None for size in pool.map(store.verify, stored))


def drop_damaged(error: IntegrityError, context: BuildContext) -> bool:
    """Whether a build failed because archives of the store were damaged; these are dropped.

    Raises:
        PlaceError: the store cannot be read.
    """
    if isinstance(error, DamagedPackagesError):
        return reread(error.digests, context.store) > 0
    data = context.channels.text(context.label.name, MANIFEST)
    with contextlib.suppress(IntegrityError):
        packages = manifest.parse(data or b"", MANIFEST).packages.values()
        return reread((artifact.sha256 for artifact in packages), context.store) > 0
    return False


def is_damaged(release: Manifest, context: BuildContext, *, reads_everything: bool) -> bool:
    """Whether a package of the published release has other bytes than were released.

    Args:
        reads_everything: hash all of them; else those that were found damaged in the store, where
            the published file is another one than the store's.

    Raises:
        PlaceError: a file cannot be read.
    """
    store, folder = context.store, context.channels.published(context.label.name)
    suspects = store.damaged()

    def is_wrong(path: RelPath, sha256: Digest) -> bool:
        return digests.digest(folder / path)[0] != sha256

    def is_asked(path: RelPath, sha256: Digest) -> bool:
        if reads_everything:
            return True
        return sha256 in suspects and not _is_same(folder / path, store.path(sha256))

    rows = [
        (path, artifact.sha256)
        for path, artifact in release.packages.items()
        if is_asked(path, artifact.sha256)
    ]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return any(pool.map(lambda row: is_wrong(*row), rows))


def _is_same(published: Path, stored: Path) -> bool:
    with contextlib.suppress(OSError):
        return published.samefile(stored)
    return False


def heal_history(context: BuildContext) -> tuple[str, ...]:
    """Fetch anew what releases of the history need, and a check of the store found damaged.

    Returns:
        A warning for each release that cannot be restored all the same.

    Raises:
        PlaceError: the store cannot be read or written.
    """
    store, channels, label = context.store, context.channels, context.label.name
    suspects = store.damaged()
    if not suspects:
        return ()
    warnings = []
    for number in channels.releases(label):
        data = channels.remembered(label, number, MANIFEST) or b""
        with contextlib.suppress(RepackError):
            packages = manifest.parse(data, MANIFEST).packages
            lost = {
                artifact.sha256: path
                for path, artifact in packages.items()
                if artifact.sha256 in suspects
                and not store.contains(artifact.sha256, artifact.size)
            }
            _take_back(number, lost, context)
            if missing := sorted(p for sha, p in lost.items() if not store.path(sha).is_file()):
                warnings.append(
                    f"release {number} cannot be restored: {missing[0]} was damaged in the store, "
                    "and nobody has it any more"
                )
    return tuple(warnings)


def _take_back(number: int, lost: dict[Digest, RelPath], context: BuildContext) -> None:
    """Fetch from where the release's own lock says that its packages came from."""
    from repack.solve.lockfile import read_lock

    lock = context.channels.history(context.label.name) / str(number) / "repack/lock.yml"
    if not lost or not lock.is_file():
        return
    records: dict[Digest, Record] = {
        record.sha256: record
        for group in read_lock(lock).records.values()
        for record in group
        if record.sha256 in lost
    }
    with contextlib.suppress(RepackError):
        fetch(list(records.values()), context.store, context.upstream, context.progress)
        context.progress.note(f"release {number}: packages damaged in the store are fetched anew")
