"""Cargo: a release as something to be carried, and whether a volume can hold it.

Rules of this module: the order is that of publishing (packages, texts, manifest, removals), and
everything that a volume cannot hold is said before the first byte is written, all of it at once.
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
        texts: all else, by path.
        pieces: both, by path.
    """

    hidden_fields: ClassVar = ("texts",)

    label: LabelName
    release: int
    packages: Mapping[RelPath, FileEntry]
    texts: Mapping[RelPath, bytes]

    @property
    def pieces(self) -> dict[RelPath, FileEntry]:
        """Every file of the release, by path."""
        return {**self.packages, **pieces_of(self.texts)}


def pieces_of(texts: Mapping[RelPath, bytes]) -> dict[RelPath, FileEntry]:
    """What these files are, by path."""
    return {path: FileEntry.of_bytes(path, data) for path, data in texts.items()}


class SyncPlan(Struct, frozen=True):
    """What a delivery has to do, in the order in which it does it.

    Attributes:
        copy: packages first, the manifest last.
        keep: what is there already and right.
        remove: what is there and belongs to no release that stays.
    """

    copy: tuple[FileEntry, ...]
    keep: tuple[FileEntry, ...]
    remove: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """How much has to be written."""
        return sum(piece.size for piece in self.copy)


def plan(
    cargo: ReleaseFiles, there: Collection[str], right: Collection[str], stays: Collection[str] = ()
) -> SyncPlan:
    """What to do at a place that holds ``there``.

    Args:
        cargo: what it is to hold.
        there: paths of all files in it.
        right: those whose content was found to be the wanted one.
        stays: paths that are other releases' and not to be removed.
    """
    pieces = cargo.pieces
    order = sorted(cargo.packages) + sorted(cargo.texts, key=_rank)
    # Where case does not matter, a file that is spelt otherwise is the wanted one.
    wanted = {path.casefold() for path in (*pieces, *stays)}
    return SyncPlan(
        copy=tuple(pieces[path] for path in order if path not in right),
        keep=tuple(pieces[path] for path in order if path in right),
        remove=tuple(sorted(path for path in there if path.casefold() not in wanted)),
    )


def _rank(path: str) -> tuple[bool, tuple[int, str]]:
    """What other releases keep on a medium is put aside before it is replaced."""
    return (not path.startswith("repack/releases/"), publish_rank(path))


def check_fits(pieces: Collection[FileEntry], volume: Volume, where: object) -> None:
    """Make sure that the volume can hold ``pieces``.

    Raises:
        SpaceError: files are too large for it, or all together are; says which.
        IntegrityError: two names differ only by case, or Windows cannot hold one.
    """
    check_names(frozenset(piece.path for piece in pieces))
    large = [piece for piece in pieces if piece.size > FAT32_LIMIT]
    if volume.kind == "fat32" and large:
        raise SpaceError(
            "FAT32 holds no file of 4 GiB or more",
            where=where,
            expected=f"at most {FAT32_LIMIT} bytes a file",
            got=_listed(large),
            hint="format the medium as exFAT or NTFS, or split the bundle",
        )
    need = volume.needs(piece.size for piece in pieces)
    if need > volume.free:
        raise SpaceError(
            "not enough space; nothing was written",
            where=where,
            expected=f"{need} bytes",
            got=f"{volume.free} bytes free; these don't fit: {_listed(_left_over(pieces, volume))}",
            hint=f"free {need - volume.free} bytes, or take a larger medium",
        )


def _left_over(pieces: Collection[FileEntry], volume: Volume) -> list[FileEntry]:
    """What finds no room any more when the smallest go first: the largest are what to look at."""
    left, room = [], volume.free
    for piece in sorted(pieces, key=lambda piece: (piece.size, piece.path)):
        room -= volume.needs([piece.size])
        if room < 0:
            left.append(piece)
    return left[::-1]


def _listed(pieces: Collection[FileEntry]) -> str:
    shown = [f"{piece.path} ({piece.size} bytes)" for piece in list(pieces)[:_SHOWN]]
    more = [f"and {len(pieces) - _SHOWN} more"] if len(pieces) > _SHOWN else []
    return ", ".join([*shown, *more])


def check_destination(
    cargo: ReleaseFiles, there: Collection[str], found: str | None, where: str
) -> None:
    """Make sure that a place is ours to write to and to remove from.

    Args:
        cargo: what is going to stand there.
        there: paths of all files in it.
        found: the label whose manifest is there; None when there is none.
        where: the place, for messages.

    Raises:
        UsageError: it holds another label, or what is no channel.
    """
    if found is not None and found != cargo.label:
        raise UsageError(
            "another label's channel stands there",
            where=where,
            expected=cargo.label,
            got=found,
            hint="a channel needs a folder of its own",
        )
    wanted = cargo.texts.keys()
    strange = sorted(
        path
        for path in there
        if path.split("/")[0] not in _CHANNEL_FOLDERS and _RSYNC_TEMP.sub(r"\1", path) not in wanted
    )
    if found is None and strange:
        raise UsageError(
            "the folder holds other things, and a sync removes what is not the channel's",
            where=where,
            got=", ".join(strange[:_SHOWN]),
            hint=f"name a folder of its own, such as {where.rstrip('/')}/{cargo.label}",
        )


class SyncResult(Struct, frozen=True):
    """What a delivery did, or would do."""

    label: LabelName
    release: int
    where: str
    engine: str
    work: SyncPlan
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
            "copied": [piece.path for piece in self.work.copy],
            "kept": len(self.work.keep),
            "removed": list(self.work.remove),
            "bytes": self.work.bytes,
            "verified": 0 if self.dry_run else len(self.work.copy) + len(self.work.keep),
            "seconds": round(self.seconds, 3),
        }
