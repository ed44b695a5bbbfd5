"""A release to be carried, what there is to do at its destination, and whether it fits there.

Everything that a volume cannot hold is reported before the first byte is written, all of it at
once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec import Struct

from repack.channel.layout import check_names, publish_rank
from repack.conda.subdir import PLATFORMS
from repack.errors import SpaceError, UsageError
from repack.file_entry import FileEntry
from repack.fs.volume import FAT32_LIMIT, Volume
from repack.structs import Value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from repack.names import LabelName, RelPath

_SHOWN: Final = 5
# What rsync calls a file while it is on its way.
_RSYNC_TEMP: Final = re.compile(r"\.([^/]+)\.[A-Za-z0-9]{6}\Z")
_CHANNEL_FOLDERS: Final = frozenset({"noarch", "repack", *PLATFORMS})


class ReleaseFiles(Value, frozen=True):
    """A release to be carried.

    Attributes:
        packages: by path; their bytes are somewhere on disk.
        texts: the content of all other files, by path.
    """

    hidden_fields: ClassVar = ("texts",)

    label: LabelName
    release: int
    packages: Mapping[RelPath, FileEntry]
    texts: Mapping[RelPath, bytes]

    @property
    def entries(self) -> dict[RelPath, FileEntry]:
        """Every file of the release, by path."""
        return {**self.packages, **text_entries(self.texts)}


def text_entries(texts: Mapping[RelPath, bytes]) -> dict[RelPath, FileEntry]:
    """The entries of files with these contents, by path."""
    return {path: FileEntry.of_bytes(path, data) for path, data in texts.items()}


class SyncPlan(Struct, frozen=True):
    """What a sync has to do.

    Attributes:
        packages: to be copied.
        texts: to be written afterwards, the manifest last.
        keep: what is there already and right.
        remove: what is there and belongs to no release that stays.
    """

    packages: tuple[FileEntry, ...]
    texts: tuple[FileEntry, ...]
    keep: tuple[FileEntry, ...]
    remove: tuple[str, ...]

    @property
    def copy(self) -> tuple[FileEntry, ...]:
        """Everything that has to be written, in the order of publishing."""
        return self.packages + self.texts

    @property
    def bytes(self) -> int:
        """How much has to be written."""
        return sum(entry.size for entry in self.copy)


def make_plan(
    files: ReleaseFiles,
    present: Collection[str],
    intact: Collection[str],
    kept_paths: Collection[str] = (),
) -> SyncPlan:
    """What to do at a place so that it holds ``files``.

    Args:
        present: paths of all files in it.
        intact: those whose content is the release's.
        kept_paths: paths that are other releases' and not to be removed.
    """
    packages = [files.packages[path] for path in sorted(files.packages)]
    by_path = text_entries(files.texts)
    texts = [by_path[path] for path in sorted(by_path, key=publish_rank)]
    # Where case does not matter, a file that is spelt otherwise is the release's own.
    needed = {path.casefold() for path in (*files.packages, *files.texts, *kept_paths)}
    return SyncPlan(
        packages=tuple(entry for entry in packages if entry.path not in intact),
        texts=tuple(entry for entry in texts if entry.path not in intact),
        keep=tuple(entry for entry in (*packages, *texts) if entry.path in intact),
        remove=tuple(sorted(path for path in present if path.casefold() not in needed)),
    )


def check_fits(entries: Collection[FileEntry], volume: Volume, where: object) -> None:
    """Make sure that the volume can hold ``entries``.

    Raises:
        SpaceError: files are too large for it, or all together are; says which.
        IntegrityError: two names differ only by case, or Windows cannot hold one.
    """
    check_names(frozenset(entry.path for entry in entries))
    large = [entry for entry in entries if entry.size > FAT32_LIMIT]
    if volume.kind == "fat32" and large:
        raise SpaceError(
            "FAT32 holds no file of 4 GiB or more",
            where=where,
            expected=f"at most {FAT32_LIMIT} bytes a file",
            got=_listed(large),
            hint="format the medium as exFAT or NTFS, or split the bundle",
        )
    need = volume.needs(entry.size for entry in entries)
    if need > volume.free:
        raise SpaceError(
            "not enough space; nothing was written",
            where=where,
            expected=f"{need} bytes",
            got=f"{volume.free} bytes free; these don't fit: {_listed(_overflow(entries, volume))}",
            hint=f"free {need - volume.free} bytes, or take a larger medium",
        )


def _overflow(entries: Collection[FileEntry], volume: Volume) -> list[FileEntry]:
    """What finds no room any more when the smallest go first: the largest are what to look at."""
    overflow, room = [], volume.free
    for entry in sorted(entries, key=lambda entry: (entry.size, entry.path)):
        room -= volume.needs([entry.size])
        if room < 0:
            overflow.append(entry)
    return overflow[::-1]


def _listed(entries: Collection[FileEntry]) -> str:
    shown = [f"{entry.path} ({entry.size} bytes)" for entry in list(entries)[:_SHOWN]]
    more = [f"and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return ", ".join([*shown, *more])


def check_destination(
    files: ReleaseFiles, present: Collection[str], label: str | None, where: str
) -> None:
    """Make sure that a place is ours to write to and to remove from.

    Args:
        files: what is going to stand there.
        present: paths of all files in it.
        label: the label whose manifest is there; None when there is none.
        where: the place, for messages.

    Raises:
        UsageError: it holds another label, or what is no channel.
    """
    if label is not None:
        if label == files.label:
            return
        raise UsageError(
            "another label's channel stands there",
            where=where,
            expected=files.label,
            got=label,
            hint="a channel needs a folder of its own",
        )
    # A first copy that was cut off leaves files of a channel, and rsync's temporary ones.
    texts: Collection[str] = files.texts
    foreign = sorted(
        path
        for path in present
        if path.split("/")[0] not in _CHANNEL_FOLDERS and _RSYNC_TEMP.sub(r"\1", path) not in texts
    )
    if foreign:
        raise UsageError(
            "the folder holds other things, and a sync removes what is not the channel's",
            where=where,
            got=", ".join(foreign[:_SHOWN]),
            hint=f"name a folder of its own, such as {where.rstrip('/')}/{files.label}",
        )


class SyncResult(Struct, frozen=True):
    """What a sync did, or would do."""

    label: LabelName
    release: int
    where: str
    engine: str
    plan: SyncPlan
    dry_run: bool
    seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """The document ``repack sync --json`` prints."""
        return {
            "label": self.label,
            "release": self.release,
            "dest": self.where,
            "engine": self.engine,
            "dry_run": self.dry_run,
            "copied": [entry.path for entry in self.plan.copy],
            "kept": len(self.plan.keep),
            "removed": list(self.plan.remove),
            "bytes": self.plan.bytes,
            "verified": 0 if self.dry_run else len(self.plan.copy) + len(self.plan.keep),
            "seconds": round(self.seconds, 3),
        }
