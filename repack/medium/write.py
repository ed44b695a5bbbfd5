"""Writes a release to a medium, beside the releases that are there."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from repack.channel.folder import Channels
from repack.channel.history import past_tree
from repack.channel.layout import MANIFEST
from repack.channel.manifest import parse
from repack.channel.metadata_folder import newest
from repack.channel.releases import stored_releases
from repack.codec.sha256sums import SUMS, format_sums
from repack.errors import IntegrityError, UsageError
from repack.fs import atomic, beneath, digests
from repack.label import files
from repack.medium import folder
from repack.medium.contents import (
    INSTALLERS,
    RESERVED,
    MediumResult,
    file_names,
    select,
)
from repack.medium.top import put_top_files
from repack.names import LabelName, RelPath
from repack.progress import SILENT, Progress
from repack.store.store import Store
from repack.sync.copy import LocalCopy, RateLimit
from repack.sync.deliver import check_apart, published_files
from repack.sync.plan import ReleaseFiles
from repack.sync.sync import compare, sync
from repack.trust.recalls import describe_recalls
from repack.trust.selection import check_times
from repack.trust.sign import load
from repack.trust.summary import summarize_metadata
from repack.upstream.client import Upstream
from repack.upstream.errors import TransientError
from repack.upstream.response import AdaptiveReader
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from repack.channel.releases import StoredRelease
    from repack.file_entry import FileEntry
    from repack.label.label import Installer
    from repack.label.reader import PackagesFrom
    from repack.medium.contents import ReleaseChoice
    from repack.progress import Progress
    from repack.settings import Settings
    from repack.sync.sync import SyncOptions
    from repack.trust.selection import SignedRelease


def fetch_installers(
    installers: Mapping[str, Installer],
    cache: Path,
    upstream: Upstream,
    progress: Progress = SILENT,
) -> dict[str, FileEntry]:
    """Bring the installers of a label into ``cache``, each under its SHA-256.

    Raises:
        FetchError: one cannot be had.
        IntegrityError: one is not the file that the label names.
        SpaceError: the disk is full.
    """
    entries = {}
    for name, installer in installers.items():
        path = cache / installer.sha256
        if not beneath.is_file(path) or digests.digest(path)[0] != installer.sha256:
            progress.note(f"fetching {name}")
            upstream.first_of(installer.url, partial(_download, installer, path, upstream))
        entries[name] = digests.file_entry(RelPath(f"{INSTALLERS}/{name}"), path)
    return entries


def _download(installer: Installer, path: Path, upstream: Upstream, url: str) -> None:
    reader, sha256, size = AdaptiveReader(), hashlib.sha256(), 0
    with upstream.open(url) as response, atomic.writing(path) as out:
        while data := reader.read(response):
            sha256.update(data)
            size += len(data)
            out.write(data)
        if response.length is not None and size != response.length:
            raise TransientError("less came than there should be", where=redact_url(url))
        if sha256.hexdigest() != installer.sha256:
            raise IntegrityError(
                "an installer is not the file that the label names",
                where=redact_url(url),
                expected=installer.sha256,
                got=sha256.hexdigest(),
            )


def put_installers(root: Path, entries: Mapping[str, FileEntry], cache: Path) -> None:
    """Copy installers to the medium, and list all that are there.

    Raises:
        UsageError: another file of that name is there for another label.
        SpaceError: the medium is full.
        PlaceError: it cannot be written.
    """
    listed = folder.read_sums(root / INSTALLERS)
    for name, entry in entries.items():
        if listed.get(name, entry.sha256) != entry.sha256:
            raise UsageError(
                "another label on this medium brings another installer of that name",
                where=root / entry.path,
                hint="take a medium of its own, or give both labels the same installer",
            )
    for entry in entries.values():
        folder.put_file(root, entry, cache / entry.sha256, RateLimit(None))
    if entries:
        listed |= {name: entry.sha256 for name, entry in entries.items()}
        atomic.write(root / INSTALLERS / SUMS, format_sums(listed))


class MediumContext(Struct, frozen=True):
    """What writing a medium works with.

    Attributes:
        installers: those that the label lists.
        rate: bytes a second; None for no limit.
    """

    channels: Channels
    store: Store
    upstream: Upstream
    installers: tuple[Installer, ...]
    now: datetime
    options: SyncOptions
    rate: int | None = None

    @classmethod
    def of(
        cls, name: str, settings: Settings, options: SyncOptions, rate: int | None
    ) -> MediumContext:
        """Open every place; a label without a file has no installers.

        Raises:
            LabelError: the label has mistakes.
        """
        installers: tuple[Installer, ...] = ()
        if any((settings.labels_dir / f"{name}{suffix}").is_file() for suffix in files.SUFFIXES):
            path = files.find(settings.labels_dir, name)
            packages_from: PackagesFrom = "env" if settings.env_file else "label"
            label = files.load(path, settings.environment, lambda _spec: None, packages_from)
            installers = label.installers
        else:
            text = f"no label file for {name} in {settings.labels_dir}: no installers"
            options.progress.note(text)
        return cls(
            channels=Channels(settings.channels_dir),
            store=Store(settings.store_dir),
            upstream=Upstream.from_environment(settings.environment, settings.home),
            installers=installers,
            now=settings.now,
            options=options,
            rate=rate,
        )


def write_medium(
    name: str, root: Path, choice: ReleaseChoice, context: MediumContext
) -> MediumResult:
    """Put a release of label ``name`` on the medium ``root``, beside what is there.

    Raises:
        UsageError: there is no such label or release.
        WrongTypeError: it is not signed for production.
        WrongTagError: it is signed for other tags only.
        FetchError: an installer, or a past release's package, cannot be had.
        SpaceError: it does not fit; nothing was written if that could be known before.
        RecalledError: every release that could be meant was recalled.
        IntegrityError: a source is damaged, or the medium does not hold what is written to it.
        PlaceError: the medium cannot be written, or was pulled.
    """
    channels, label, options = context.channels, LabelName(name), context.options
    channel = beneath.guard(root) / label
    if label in RESERVED:
        raise UsageError("on a medium, that folder is no label's", where=channel)
    check_apart(channels.published(label), channel)
    with channels.exclusive(label):
        release, tree = find_release(context, label, choice)
        installers = file_names(context.installers)
        cache = context.store.root / "installers"
        entries = fetch_installers(installers, cache, context.upstream, options.progress)
        others: list[StoredRelease] = []
        if choice.keep_others:
            others = _other_releases(channel, release.release, options.progress)
        texts = dict(release.texts)
        for other in others:
            texts |= other.beside(release.texts)
        release = replace(release, texts=texts)
        options = replace(
            options,
            kept_paths={str(row.path) for other in others for row in other.manifest.artifacts},
            same_medium=folder.same_medium(root, channel, release.packages),
            moved_to=folder.moved_to(root, channel),
        )
        # Room for all of it is checked before the first installer is written.
        missing = [entry for entry in entries.values() if not beneath.is_file(root / entry.path)]
        counted = replace(options, extra_files=[*options.extra_files, *missing])
        if options.dry_run:
            options = counted
        else:
            compare(release, channel, counted)
            put_installers(root, entries, cache)
        result = sync(
            release, channel, LocalCopy(lambda path: tree[RelPath(path)], context.rate), options
        )
        if not options.dry_run:
            put_top_files(root, f"{context.now:%Y-%m-%d %H:%M} UTC")
    numbers = sorted({release.release, *(other.manifest.release for other in others)})
    notes = _recall_notes(context, label, numbers)
    for note in notes:
        options.progress.note(f"warning: {note}")
    return MediumResult(result, choice.type, choice.tag, tuple(installers), tuple(numbers), notes)


def _recall_notes(
    context: MediumContext, label: LabelName, numbers: Sequence[int]
) -> tuple[str, ...]:
    """What to say of the releases on a medium that were recalled, and of newer ones that were."""
    recalled = summarize_metadata(newest(context.channels, label)).recalled
    notes = []
    for number in sorted(recalled):
        if number in numbers:
            notes.append(f"{describe_recalls(recalled, [number])}; targets refuse it")
        elif number > max(numbers):
            notes.append(f"{describe_recalls(recalled, [number])}; an older one was written")
    return tuple(notes)


def _other_releases(channel: Path, release: int, progress: Progress) -> list[StoredRelease]:
    """The other releases on a medium, as they are; one that is damaged does not stay."""
    others = []
    for stored in stored_releases(channel):
        if stored.manifest.release == release:
            continue
        if stored.whole:
            others.append(stored)
        else:
            progress.note(f"release {stored.manifest.release} on the medium is damaged; it goes")
    return others


def find_release(
    context: MediumContext, label: LabelName, choice: ReleaseChoice
) -> tuple[ReleaseFiles, Mapping[RelPath, Path]]:
    """The release that is asked for, and where each of its packages is.

    Raises:
        UsageError: there is no such label or release.
        WrongTypeError: it is not signed for production.
        WrongTagError: it is signed for other tags only.
        FetchError: a past release's package cannot be had.
        IntegrityError: the release's manifest is damaged.
    """
    channels, published = context.channels, context.channels.published(label)
    if not (published / MANIFEST).is_file():
        raise UsageError(
            f"label {label!r} has no channel",
            where=published,
            hint=f"build it: repack label {label}",
        )
    current, metadata = published_files(channels, label), newest(channels, label)
    signed: list[SignedRelease] = []
    if choice.needs_signature and metadata:
        trusted = load(label, metadata)
        check_times(trusted.expiries(), context.now, None)
        signed = [*trusted.releases("ci"), *trusted.releases("production")]
    # Unverified: whoever could forge it here could leave the recall out of what is sent as well
    recalled = summarize_metadata(metadata).recalled
    kept = (current.release, *channels.releases(label))
    number = select(label, signed, choice, kept, recalled)
    if number == current.release:
        return current, {path: published / path for path in current.packages}
    tree = past_tree(channels, label, number, context.store)
    manifest = parse(tree.texts[RelPath(MANIFEST)], channels.history(label) / str(number))
    return ReleaseFiles(label, number, manifest.packages, tree.texts), tree.packages
