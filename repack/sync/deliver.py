"""Bring a label's published channel to a folder or to another machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from repack import host
from repack.channel import history, manifest
from repack.channel.folder import Channels
from repack.channel.layout import MANIFEST
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic
from repack.names import LabelName
from repack.sync.copy import LocalCopy
from repack.sync.plan import ReleaseFiles
from repack.sync.robocopy import Robocopy
from repack.sync.rsync import LocalRsync, Rsync, local_engine, remote
from repack.sync.sync import sync, sync_remote
from repack.verify.verdict import Requirements
from repack.verify.verify import verify

if TYPE_CHECKING:
    from repack.sync.copy import Transport
    from repack.sync.plan import SyncResult
    from repack.sync.sync import SyncOptions


class Transfer(Struct, frozen=True):
    """How bytes travel.

    Attributes:
        engine: ``auto``, ``rsync``, ``robocopy`` or ``own``.
        rate: bytes a second; None for no limit.
    """

    engine: str = "auto"
    rate: int | None = None


def deliver(
    name: str, channels_dir: Path, dest: str, transfer: Transfer, options: SyncOptions
) -> SyncResult:
    """Make ``dest`` a copy of label ``name``'s published channel.

    Raises:
        UsageError: there is no such channel, or ``dest`` is none that can be one.
        BusyError: the label is being built.
        IntegrityError: the channel is damaged; ``dest`` is as it was.
        SpaceError: it does not fit.
        PlaceError: ``dest`` cannot be written, or went away.
    """
    channels, label = Channels(channels_dir), LabelName(name)
    folder = channels.published(label)
    place = remote(dest)
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"label {label!r} has no channel", where=folder, hint=f"build it: repack label {label}"
        )
    if place is None:
        check_apart(folder, Path(dest))
    with channels.exclusive(label):
        files = published_files(channels, label)
        if place is None:
            return sync(files, Path(dest), _open_transport(folder, transfer), options)
        rsync = Rsync(place, transfer.rate)
        # LocalCopy and the read-back find a damaged source; rsync would carry the damage over.
        _check_intact(folder)
        return sync_remote(files, folder, rsync, options)


def check_apart(source: Path, dest: Path) -> None:
    """Refuse a destination inside the source, or around it.

    Raises:
        UsageError: it is.
    """
    here, there = source.resolve(), dest.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UsageError("source and destination lie in each other", where=dest, got=source)


def _check_intact(folder: Path) -> None:
    if findings := verify(folder, Requirements(), host.now()).findings:
        raise IntegrityError(
            "the channel is damaged; the destination is as it was",
            where=folder,
            got=", ".join(map(str, findings[:3])),
            hint="build the label again, which repairs its channel",
        )


def _open_transport(folder: Path, transfer: Transfer) -> Transport:
    """What copies packages from ``folder`` to a folder.

    Raises:
        UsageError: the program that is asked for is not there.
    """
    engine = local_engine(transfer.engine)
    if engine == "own":
        return LocalCopy(lambda path: folder / path, transfer.rate)
    return (LocalRsync if engine == "rsync" else Robocopy)(folder, transfer.rate)


def published_files(channels: Channels, label: LabelName) -> ReleaseFiles:
    """The published release.

    Raises:
        IntegrityError: its manifest is damaged.
    """
    path = channels.published(label) / MANIFEST
    release = manifest.parse(atomic.read(path, manifest.MAX_BYTES), path)
    packages = release.packages
    return ReleaseFiles(label, release.release, packages, history.texts(channels, label, packages))
