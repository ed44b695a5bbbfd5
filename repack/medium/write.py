"""Medium: what a stick needs besides a channel, and how several releases share one."""

from __future__ import annotations

import hashlib
import time
from importlib import resources
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.channel import manifest
from repack.channel.folder import Channels
from repack.channel.history import past_tree
from repack.channel.layout import MANIFEST
from repack.channel.metadata_folder import newest
from repack.channel.releases import stored_releases
from repack.channel.scripts import sync_scripts
from repack.codec.sha256sums import SUMS
from repack.errors import FetchError, IntegrityError, UsageError
from repack.file_entry import FileEntry
from repack.fs import atomic, digests
from repack.fs.inventory import intact_paths
from repack.fs.walk import read_or_none
from repack.label import files as labels
from repack.medium import folder
from repack.medium import folder as medium_folder
from repack.medium.contents import (
    CHECKLIST,
    INSTALLERS,
    RESERVED,
    MediumResult,
    checklist,
    file_names,
    select,
)
from repack.names import LabelName, RelPath
from repack.progress import SILENT, Progress
from repack.store.store import Store
from repack.sync.copy import LocalCopy, RateLimit, copy
from repack.sync.deliver import check_apart, standing
from repack.sync.plan import ReleaseFiles
from repack.sync.sync import look, sync
from repack.trust.selection import check_times
from repack.trust.sign import load
from repack.upstream.client import Upstream
from repack.upstream.errors import TransientError
from repack.upstream.response import AdaptiveReader
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from repack.channel.releases import StoredRelease
    from repack.label.label import Installer
    from repack.label.reader import PackagesFrom
    from repack.medium.contents import ReleaseChoice
    from repack.progress import Progress
    from repack.settings import Settings
    from repack.sync.sync import SyncOptions
    from repack.trust.selection import SignedRelease


_DATA: Final = "repack.shipped"


def joined(cargo: ReleaseFiles, others: list[StoredRelease]) -> tuple[ReleaseFiles, set[str]]:
    """``cargo`` with the texts of ``others`` beside it, and all their packages' paths."""
    texts = dict(cargo.texts)
    for other in others:
        texts |= other.beside(cargo.texts)
    stays = {str(row.path) for other in others for row in other.manifest.artifacts}
    return ReleaseFiles(cargo.label, cargo.release, cargo.packages, texts), stays


def staying(channel: Path, release: int, progress: Progress) -> list[StoredRelease]:
    """The other releases on a medium, as they are; one that is damaged does not stay."""
    found = []
    for one in stored_releases(channel):
        if one.manifest.release == release:
            continue
        if one.whole:
            found.append(one)
        else:
            progress.note(f"release {one.manifest.release} on the medium is damaged; it goes")
    return found


def fetch_installers(
    named: Mapping[str, Installer], cache: Path, upstream: Upstream, progress: Progress = SILENT
) -> dict[str, FileEntry]:
    """Bring the installers of a label into ``cache``, each under its SHA-256.

    Raises:
        FetchError: one cannot be had.
        IntegrityError: one is not the file that the label names.
        SpaceError: the disk is full.
    """
    pieces = {}
    for name, installer in named.items():
        place = cache / installer.sha256
        if not place.is_file() or digests.digest(place)[0] != installer.sha256:
            progress.note(f"fetching {name}")
            _fetch(installer, place, upstream)
        size = digests.digest(place)[1]
        pieces[name] = FileEntry(RelPath(f"{INSTALLERS}/{name}"), size, installer.sha256)
    return pieces


def _fetch(installer: Installer, place: Path, upstream: Upstream) -> None:
    faults: list[FetchError] = []
    for url in upstream.places(installer.url):
        for failed in range(1, upstream.patience.tries + 1):
            try:
                _take(url, installer, place, upstream)
            except TransientError as error:
                faults.append(error)
                pause = upstream.patience.pause(failed, error.retry_after)
                if pause is None:
                    break
                time.sleep(pause)
            except FetchError as error:
                faults.append(error)
                break
            else:
                return
    raise faults[-1]


def _take(url: str, installer: Installer, place: Path, upstream: Upstream) -> None:
    pace, sha, size = AdaptiveReader(), hashlib.sha256(), 0
    with upstream.open(url) as answer, atomic.writing(place) as out:
        while data := pace.read(answer):
            sha.update(data)
            size += len(data)
            out.write(data)
        if answer.length is not None and size != answer.length:
            raise TransientError("less came than there should be", where=redact_url(url))
        if sha.hexdigest() != installer.sha256:
            raise IntegrityError(
                "an installer is not the file that the label names",
                where=redact_url(url),
                expected=installer.sha256,
                got=sha.hexdigest(),
            )


def put_installers(root: Path, pieces: Mapping[str, FileEntry], cache: Path) -> None:
    """Copy installers to the medium, and list all that are there.

    Raises:
        UsageError: another file of that name is there for another label.
        SpaceError: the medium is full.
        PlaceError: it cannot be written.
    """
    listed = folder.installers(root)
    for name, piece in pieces.items():
        if listed.get(name, piece.sha256) != piece.sha256:
            raise UsageError(
                "another label on this medium brings another installer of that name",
                where=root / piece.path,
                hint="take a medium of its own, or give both labels the same installer",
            )
    for name, piece in pieces.items():
        if not intact_paths(root, [piece], lambda _count: None):
            temp = root / INSTALLERS / f"{atomic.TEMP_PREFIX}{name}"
            copy(cache / piece.sha256, temp, piece, RateLimit(None), lambda _count: None)
            atomic.flush([temp])
            with atomic.os_errors_at(root / piece.path):
                atomic.rename(temp, root / piece.path)
    if pieces:
        listed |= {name: piece.sha256 for name, piece in pieces.items()}
        rows = [f"{digest}  {name}\n" for name, digest in sorted(listed.items())]
        atomic.write(root / INSTALLERS / SUMS, "".join(rows).encode())


def put_papers(root: Path, made: str) -> None:
    """Write what stands at the top of a medium: checklist, verifier, the plain ways to copy.

    Raises:
        SpaceError: the medium is full.
        PlaceError: it cannot be written.
    """
    put_checklist(root, made)
    texts = {RelPath("verify.py"): _data("verify_medium.py"), **sync_scripts()}
    for name, data in texts.items():
        atomic.write(root / name, data, 0o755 if name.endswith(".sh") else 0o644)


def put_checklist(root: Path, made: str) -> None:
    """Write the checklist of what is on a medium now. Raises as :func:`put_papers` does.

    Args:
        made: when, for people.
    """
    releases, installers = folder.inventory(root), folder.installers(root)
    text = checklist(_data(CHECKLIST).decode(), releases, installers, made)
    atomic.write(root / CHECKLIST, text.encode())


def is_medium(root: Path) -> bool:
    """Whether a folder has the checklist that repack writes at the top of a medium."""
    title = _data(CHECKLIST).split(b"\n", 1)[0]
    return (read_or_none(root / CHECKLIST) or b"").startswith(title)


def _data(name: str) -> bytes:
    return resources.files(_DATA).joinpath(name).read_bytes()


class MediumContext(Struct, frozen=True):
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
    def of(
        cls, name: str, settings: Settings, rate: int | None, progress: Progress
    ) -> MediumContext:
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


def write_medium(
    name: str, root: Path, wish: ReleaseChoice, desk: MediumContext, terms: SyncOptions
) -> MediumResult:
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
        pieces = fetch_installers(named, cache, desk.upstream, progress)
        others = staying(root / label, cargo.release, progress) if wish.keep_others else []
        cargo, stays = joined(cargo, others)
        extra = terms.beside
        missing = {p.path for p in pieces.values() if not (root / p.path).is_file()}
        terms = replace(
            terms,
            stays=stays,
            nearby=medium_folder.same_medium(root, root / label, cargo.packages),
            moved_to=medium_folder.moved_to(root, root / label),
            beside=[*terms.beside, *(p for p in pieces.values() if p.path in missing)],
        )
        if not terms.dry_run:
            look(cargo, root / label, terms)
            put_installers(root, pieces, cache)
            terms = replace(terms, beside=extra)
        carrier = LocalCopy(lambda path: tree[RelPath(path)], desk.rate)
        sent = sync(cargo, root / label, carrier, terms)
        if not terms.dry_run:
            put_papers(root, f"{desk.now:%Y-%m-%d %H:%M} UTC")
    numbers = sorted({cargo.release, *(one.manifest.release for one in others)})
    return MediumResult(sent, wish.type, wish.tag, tuple(named), tuple(numbers))


def chosen(
    desk: MediumContext, label: LabelName, wish: ReleaseChoice
) -> tuple[ReleaseFiles, Mapping[RelPath, Path]]:
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
    return ReleaseFiles(label, number, found.packages, tree.texts), tree.packages
