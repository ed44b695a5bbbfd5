"""What a target with nothing on it starts from: the environment itself, packed for a shell.

``bootstrap/SUBDIR/unpack.sh`` and, beside it, ``LABEL-RELEASE-environment.tar.gz``. Both are signed
and listed like every other file of the release; the archive is an artifact, so that media, shares
and deltas carry it as they carry packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from repack.channel.manifest import Artifact
from repack.channel.scripts import PackedEnvironment, unpack_sh
from repack.errors import IntegrityError
from repack.file_entry import FileEntry
from repack.fs import atomic, beneath, digests, links
from repack.names import RelPath
from repack.prefix import sandbox
from repack.urls import folder_url, package_url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.archive.installed_paths import CheckedEnvironment
    from repack.channel.contents import ChannelContents
    from repack.release.context import BuildContext

FOLDER = "bootstrap"
SCRIPT = "unpack.sh"


class PackedEnvironments(Struct, frozen=True):
    """The packed environments of a release.

    Attributes:
        by_path: each archive by its path in the channel; its bytes are in the store.
        scripts: the scripts that unpack them.
    """

    by_path: Mapping[RelPath, FileEntry] = field(default_factory=dict)
    scripts: Mapping[RelPath, bytes] = field(default_factory=dict)

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        """The archives for the integrity list."""
        return tuple(self.by_path.values())

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The archives for the manifest."""
        return tuple(
            Artifact(path=entry.path, size=entry.size, sha256=entry.sha256)
            for entry in self.by_path.values()
        )


def pack_environments(
    contents: ChannelContents, release: int, context: BuildContext
) -> PackedEnvironments:
    """Link and pack the environment of every Linux platform of a label with ``bootstrap: repack``.

    Raises:
        ProofError: a package leaves too little room for a path.
        IntegrityError: the packages cannot be linked.
        SpaceError: the disk is full.
    """
    label, by_path, scripts = context.label, {}, {}
    if label.bootstrap == "none":
        return PackedEnvironments()
    for subdir in contents.records_by_subdir:
        if not subdir.startswith("linux-"):
            context.progress.note(f"{subdir}: bootstrap is for Linux; nothing is packed here")
            continue
        entry, packed = _pack(contents.checked(subdir), subdir, release, context)
        by_path[entry.path] = entry
        folder, _, archive = entry.path.rpartition("/")
        environment = PackedEnvironment(
            label.name, release, archive, entry.sha256, packed, label.health_check
        )
        scripts[RelPath(f"{folder}/{SCRIPT}")] = unpack_sh(environment)
    return PackedEnvironments(by_path, scripts)


def _pack(
    environment: CheckedEnvironment, subdir: str, release: int, context: BuildContext
) -> tuple[FileEntry, str]:
    """Pack one environment into the store; its entry, and the prefix that stands in its files."""
    # Few labels want this, and the others are spared these imports.
    from repack.prefix.link import link
    from repack.prefix.relocatable import (
        LONGEST,
        SHORTEST,
        pack_environment,
        packed_prefix,
        shortest_placeholder,
    )

    progress, store = context.progress, context.store
    with store.scratch_folder() as scratch:
        channel, prefix, target = scratch / "channel", scratch / "prefix", scratch / "packed"
        packages = _laid_out(environment, channel, context)

        def link_with(length: int) -> None:
            sandbox.fresh(prefix)
            with progress.phase(f"link {subdir}", len(packages.records), "packages") as done:
                link(packages, prefix, store.package_cache, done, written=packed_prefix(length))

        length = LONGEST
        try:
            link_with(length)
        except IntegrityError:
            # A binary of an old package has room for less. How much, the linked packages say; what
            # is wrong otherwise is wrong with the shortest prefix, too.
            link_with(SHORTEST)
            length = shortest_placeholder(prefix)
            link_with(length)
        packed = packed_prefix(length)
        with progress.phase(f"pack {subdir}", None, "bytes") as done:
            pack_environment(prefix, packed, context.label.name, target, done)
        sandbox.discard(prefix)
        atomic.flush([target])
        sha256, size = digests.digest(target)
        store.add(target, sha256, "move")
    path = f"{FOLDER}/{subdir}/{context.label.name}-{release}-environment.tar.gz"
    return FileEntry(RelPath(path), size, sha256), packed


def _laid_out(
    environment: CheckedEnvironment, channel: Path, context: BuildContext
) -> CheckedEnvironment:
    """The packages under their file names, from which the linker takes their format."""
    with atomic.os_errors_at(channel):
        for subdir in {record.subdir for record in environment.records}:
            beneath.make_folders(channel / subdir)
    for record in environment.records:
        links.place(context.store.path(record.sha256), channel / record.subdir / record.fn)
    base = folder_url(channel)
    return environment.at(lambda record: package_url(base, record.subdir, record.fn))
