"""The lines of delivery: a label's channel to a folder or another machine, a release to a medium."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from repack.channel import manifest
from repack.channel.folder import Channels
from repack.channel.history import past_tree
from repack.channel.layout import MANIFEST
from repack.channel.metadata_folder import newest
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic
from repack.label import files as labels
from repack.license import factors
from repack.medium import folder as medium_folder
from repack.medium import write
from repack.medium.contents import RESERVED, Written, file_names, select
from repack.names import LabelName, RelPath
from repack.release import published as releases
from repack.store.store import Store
from repack.sync.copy import Copier
from repack.sync.plan import Cargo, Piece
from repack.sync.rsync import LocalRsync, Robocopy, Rsync, local_carrier_name, remote
from repack.sync.sync import look, sync, sync_afar
from repack.trust.selection import check_times
from repack.trust.sign import load
from repack.upstream.client import Upstream
from repack.verify.verdict import Demand
from repack.verify.verify import verify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from repack.channel.manifest import Manifest
    from repack.label.label import Installer
    from repack.label.reader import PackagesFrom
    from repack.medium.contents import Wish
    from repack.progress import Progress
    from repack.release.context import Settings
    from repack.sync.copy import Carrier
    from repack.sync.plan import Sent
    from repack.sync.sync import Terms
    from repack.trust.selection import SignedRelease


@dataclass(frozen=True, slots=True)
class Desk:
    """What writing a medium works with.

    Attributes:
        installers: what the label lists.
        rate: bytes a second; None for all there are.
    """

    channels: Channels
    store: Store
    upstream: Upstream
    installers: tuple[Installer, ...]
    now: datetime
    rate: int | None = None

    @classmethod
    def of(cls, name: str, settings: Settings, rate: int | None, progress: Progress) -> Desk:
        """Open every place; a label without a file has no installers.

        Raises:
            LabelError: the label has mistakes.
        """
        installers: tuple[Installer, ...] = ()
        if any((settings.labels_dir / f"{name}{suffix}").is_file() for suffix in labels.SUFFIXES):
            path = labels.find(settings.labels_dir, name)
            given: PackagesFrom = "env" if settings.env_file else "label"
            label = labels.load(path, settings.environment, lambda _spec: None, given)
            installers = label.installers
        else:
            progress.note(f"no label file for {name} in {settings.labels_dir}: no installers")
        upstream = Upstream.from_environment(settings.environment, settings.home)
        return cls(
            Channels(settings.channels_dir), Store(settings.store_dir), upstream, installers,
            settings.now, rate,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Way:
    """How bytes travel.

    Attributes:
        engine: ``auto``, ``rsync``, ``robocopy`` or ``own``.
        rate: bytes a second; None for all there are.
    """

    engine: str = "auto"
    rate: int | None = None


def deliver(name: str, channels_dir: Path, dest: str, way: Way, terms: Terms) -> Sent:
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
            return sync(cargo, Path(dest), carrier(folder, way), terms)
        rsync = Rsync(place, way.rate)
        check_sound(folder)
        return sync_afar(cargo, folder, rsync, terms)


def write_medium(name: str, root: Path, wish: Wish, desk: Desk, terms: Terms) -> Written:
    """Put a release of label ``name`` on the medium ``root``, beside what is there.

    Raises:
        UsageError: there is no such label or release.
        WrongTypeError: it is not signed for production.
        WrongTagError: it is signed for other tags only.
        FetchError: an installer, or a past release's package, cannot be had.
        SpaceError: it does not fit; nothing was written if that could be known before.
        IntegrityError: a source is damaged, or the medium does not hold what is written to it.
        PlaceError: the medium cannot be written, or was pulled.
    """
    channels, label, progress = desk.channels, LabelName(name), terms.progress
    if label in RESERVED:
        raise UsageError("on a medium, that folder is no label's", where=root / label)
    check_apart(channels.published(label), root / label)
    with channels.exclusive(label):
        cargo, tree = chosen(desk, label, wish)
        named = file_names(desk.installers)
        cache = desk.store.root / "installers"
        pieces = write.fetch_installers(named, cache, desk.upstream, progress)
        others = write.staying(root / label, cargo.release, progress) if wish.keep_others else []
        cargo, stays = write.joined(cargo, others)
        extra = terms.beside
        missing = {p.path for p in pieces.values() if not (root / p.path).is_file()}
        terms = replace(
            terms,
            stays=stays,
            nearby=medium_folder.nearby(root, root / label, cargo.packages),
            heirs=medium_folder.heirs(root, root / label),
            beside=[*terms.beside, *(p for p in pieces.values() if p.path in missing)],
        )
        if not terms.dry_run:
            look(cargo, root / label, terms)
            write.put_installers(root, pieces, cache)
            terms = replace(terms, beside=extra)
        carrier = Copier(lambda path: tree[RelPath(path)], desk.rate)
        sent = sync(cargo, root / label, carrier, terms)
        if not terms.dry_run:
            write.put_papers(root, f"{desk.now:%Y-%m-%d %H:%M} UTC")
    numbers = sorted({cargo.release, *(one.manifest.release for one in others)})
    return Written(sent, wish.type, wish.tag, tuple(named), tuple(numbers))


def chosen(desk: Desk, label: LabelName, wish: Wish) -> tuple[Cargo, Mapping[RelPath, Path]]:
    """The release that is wished for, and where each of its packages is.

    Raises:
        UsageError: there is no such label or release.
        WrongTypeError: it is not signed for production.
        WrongTagError: it is signed for other tags only.
        FetchError: a past release's package cannot be had.
        IntegrityError: the release's manifest is damaged.
    """
    channels, folder = desk.channels, desk.channels.published(label)
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"label {label!r} has no channel", where=folder, hint=f"build it: repack label {label}"
        )
    now = standing(channels, label)
    signed: list[SignedRelease] = []
    if wish.needs_signature and (metadata := newest(channels, label)):
        believed = load(label, metadata)
        check_times(believed.expiries(), desk.now, None)
        signed = [*believed.releases("ci"), *believed.releases("production")]
    number = select(label, signed, wish, now.release)
    if number == now.release:
        return now, {path: folder / path for path in now.packages}
    tree = past_tree(channels, label, number, desk.store)
    where = channels.history(label) / str(number)
    found = manifest.parse(tree.texts[RelPath(MANIFEST)], where)
    return Cargo(label, number, packages_of(found, where), tree.texts), tree.packages


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
    if wrong := verify(folder, Demand(), factors.now()).findings:
        raise IntegrityError(
            "the channel is damaged; the destination is as it was",
            where=folder,
            got=", ".join(map(str, wrong[:3])),
            hint="build the label again, which repairs its channel",
        )


def carrier(folder: Path, way: Way) -> Carrier:
    """What carries packages from ``folder`` to a folder.

    Raises:
        UsageError: the program that is asked for is not there.
    """
    name = local_carrier_name(way.engine)
    if name == "own":
        return Copier(lambda path: folder / path, way.rate)
    return (LocalRsync if name == "rsync" else Robocopy)(folder, way.rate)


def standing(channels: Channels, label: LabelName) -> Cargo:
    """The published release.

    Raises:
        IntegrityError: its manifest is damaged.
    """
    folder = channels.published(label)
    found = manifest.parse(atomic.read(folder / MANIFEST, manifest.MAX_BYTES), folder / MANIFEST)
    packages = packages_of(found, folder)
    return Cargo(label, found.release, packages, releases.texts(channels, label, packages))


def packages_of(found: Manifest, where: Path) -> dict[RelPath, Piece]:
    """The packages of a release, by path.

    Raises:
        IntegrityError: the manifest gives one no SHA-256.
    """
    pieces = {}
    for row in found.artifacts:
        if row.sha256 is None:
            raise IntegrityError("an artifact has no SHA-256", where=where, got=row.path)
        pieces[row.path] = Piece(row.path, row.sha256, row.size)
    return pieces
