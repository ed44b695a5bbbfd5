"""The lines of delivery: a label's channel to a folder or another machine, a release to a medium."""

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
from repack.sync.rsync import LocalRsync, Rsync, local_carrier_name, remote
from repack.sync.sync import sync, sync_afar
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
        rate: bytes a second; None for all there are.
    """

    engine: str = "auto"
    rate: int | None = None


def deliver(
    name: str, channels_dir: Path, dest: str, way: Transfer, terms: SyncOptions
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
        cargo = standing(channels, label)
        if place is None:
            return sync(cargo, Path(dest), open_transport(folder, way), terms)
        rsync = Rsync(place, way.rate)
        check_sound(folder)
        return sync_afar(cargo, folder, rsync, terms)


def check_apart(source: Path, dest: Path) -> None:
    """Refuse a destination inside the source, or around it.

    Raises:
        UsageError: it is.
    """
    here, there = source.resolve(), dest.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UsageError("source and destination lie in each other", where=dest, got=source)


def check_sound(folder: Path) -> None:
    """Make sure that a channel is what was released: rsync carries damage as well.

    Raises:
        IntegrityError: it is not.
    """
    if wrong := verify(folder, Requirements(), host.now()).findings:
        raise IntegrityError(
            "the channel is damaged; the destination is as it was",
            where=folder,
            got=", ".join(map(str, wrong[:3])),
            hint="build the label again, which repairs its channel",
        )


def open_transport(folder: Path, way: Transfer) -> Transport:
    """What carries packages from ``folder`` to a folder.

    Raises:
        UsageError: the program that is asked for is not there.
    """
    name = local_carrier_name(way.engine)
    if name == "own":
        return LocalCopy(lambda path: folder / path, way.rate)
    return (LocalRsync if name == "rsync" else Robocopy)(folder, way.rate)


def standing(channels: Channels, label: LabelName) -> ReleaseFiles:
    """The published release.

    Raises:
        IntegrityError: its manifest is damaged.
    """
    folder = channels.published(label)
    found = manifest.parse(atomic.read(folder / MANIFEST, manifest.MAX_BYTES), folder / MANIFEST)
    packages = found.packages
    return ReleaseFiles(label, found.release, packages, history.texts(channels, label, packages))
