"""What a medium carries besides channels for a site that has neither network nor conda at hand.

```
oem/LABEL/core-oem-RELEASE-PLATFORM.tar.gz   the channel for one platform, in one file
oem/LABEL/LABEL-OLD-NEW.delta.tar.zst        for devices that have release OLD
oem/LABEL/oem_installation.md                the checklist for label, release and device
oem/LABEL/SHA256SUMS
notary/LABEL-RELEASE.json  .intoto.json      who built it from what, signed
```
"""

from __future__ import annotations

import gzip
from importlib import resources
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.archive.tar_writer import TarWriter
from repack.channel.layout import publish_rank
from repack.codec.sha256sums import SUMS, parse_sums
from repack.conda.subdir import PLATFORMS
from repack.errors import IntegrityError
from repack.fs import atomic, digests
from repack.fs.inventory import intact_paths
from repack.fs.walk import read_or_none
from repack.medium.contents import OEM
from repack.names import RelPath
from repack.progress import SILENT, Progress
from repack.sync.copy import RateLimit, copy
from repack.sync.plan import pieces_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.file_entry import FileEntry
    from repack.license.fingerprint import Fingerprint
    from repack.medium.contents import MediumResult
    from repack.names import Digest, LabelName
    from repack.sync.plan import ReleaseFiles


# Packages are compressed already; more would only cost time.
_LEVEL: Final = 1


CHECKLIST: Final = "oem_installation.md"


def folder(label: LabelName) -> RelPath:
    """Where a label's files lie."""
    return RelPath(f"{OEM}/{label}")


def bundle_path(label: LabelName, release: int, platform: str) -> RelPath:
    """Where the whole release for one platform lies."""
    return RelPath(f"{folder(label)}/core-oem-{release}-{platform}.tar.gz")


def delta_path(label: LabelName, old: int, new: int) -> RelPath:
    """Where a delta lies."""
    return RelPath(f"{folder(label)}/{label}-{old}-{new}.delta.tar.zst")


def packages_for(cargo: ReleaseFiles, platform: str) -> list[FileEntry]:
    """The packages that ``platform`` can use, sorted."""
    others = {name for name in PLATFORMS if name != platform}
    return [
        piece
        for path, piece in sorted(cargo.packages.items())
        if path.partition("/")[0] not in others
    ]


def texts_in_order(cargo: ReleaseFiles) -> list[tuple[RelPath, bytes]]:
    """The metadata in the order of publishing, so that unpacking over a channel is a publishing."""
    return sorted(cargo.texts.items(), key=lambda row: publish_rank(row[0]))


class OemChecklist(Struct, frozen=True):
    """What the checklist is filled in with.

    Attributes:
        fingerprint: of the device it is for; None where any will do.
        manifest: SHA-256 of the release's manifest.
        files: what lies beside the checklist, with SHA-256.
    """

    label: LabelName
    release: int
    platforms: Sequence[str]
    fingerprint: Fingerprint | None
    manifest: Digest
    files: Sequence[FileEntry]
    made: str

    def fill(self, template: str) -> str:
        """The checklist, from its template; the remark that the template begins with goes."""
        marks = {
            "@LABEL@": self.label,
            "@RELEASE@": str(self.release),
            "@PLATFORMS@": ", ".join(self.platforms),
            "@FINGERPRINT@": self.fingerprint or "any device",
            "@MANIFEST@": self.manifest,
            "@MADE@": self.made,
            "@FILES@": "\n".join(
                f"| `{piece.path}` | {piece.size} | `{piece.sha256}` |" for piece in self.files
            ),
        }
        text = template.partition("-->\n")[2].lstrip() or template
        for mark, value in marks.items():
            text = text.replace(mark, value)
        return text


class OemWritten(Struct, frozen=True):
    """What was written to a medium for an OEM site.

    Attributes:
        files: paths on the medium; with ``--dry-run`` those that would be written.
    """

    written: MediumResult
    fingerprint: Fingerprint | None
    files: tuple[RelPath, ...]

    def to_json(self) -> dict[str, object]:
        """The document ``repack medium --oem --json`` prints."""
        return {
            **self.written.to_json(),
            "oem": {"fingerprint": self.fingerprint, "files": list(self.files)},
        }


def bundle(
    cargo: ReleaseFiles,
    tree: Mapping[RelPath, Path],
    platform: str,
    out: Path,
    progress: Progress = SILENT,
) -> None:
    """Write a release's channel for one platform as a ``tar.gz``; the same release, the same bytes.

    Inside it is ``LABEL/``, as on a medium, so that the agent can read the folder it is unpacked in.

    Raises:
        IntegrityError: a package is not what was released.
        SpaceError: the disk is full.
        PlaceError: a file cannot be read or written.
    """
    packages = packages_for(cargo, platform)
    size = sum(piece.size for piece in packages)
    with (
        progress.phase(f"write {out.name}", size, "bytes") as advance,
        atomic.writing(out) as sink,
        gzip.GzipFile("", "wb", _LEVEL, sink, mtime=0) as zipped,
    ):
        tar = TarWriter(zipped, advance)
        for piece in packages:
            name = f"{cargo.label}/{piece.path}"
            tar.add(name, piece.size, str(tree[piece.path]), piece.sha256)
        for path, data in texts_in_order(cargo):
            mode = 0o755 if path.endswith(".sh") else 0o644
            tar.add_text(f"{cargo.label}/{path}", data, mode=mode)
        tar.close()


def checklist(sheet: OemChecklist) -> bytes:
    """The checklist for one release and device."""
    template = resources.files("repack.shipped").joinpath(CHECKLIST).read_text(encoding="utf-8")
    return sheet.fill(template).encode()


def piece(path: RelPath, file: Path) -> FileEntry:
    """A file that is to go to ``path`` on a medium."""
    return digests.file_entry(path, file)


def put(
    root: Path, bulk: Mapping[FileEntry, Path], texts: Mapping[RelPath, bytes], rate: int | None
) -> None:
    """Copy files and texts to their places on a medium, and read them back.

    Raises:
        IntegrityError: the medium does not hold what is written to it.
        SpaceError: the medium is full.
        PlaceError: it cannot be written, or was pulled.
    """
    brake, quiet = RateLimit(rate), lambda _count: None
    for wanted, source in bulk.items():
        if intact_paths(root, [wanted], quiet):
            continue
        place = root / wanted.path
        temp = place.with_name(f"{atomic.TEMP_PREFIX}{place.name}")
        copy(source, temp, wanted, brake, quiet)
        atomic.flush([temp])
        with atomic.os_errors_at(place):
            atomic.rename(temp, place)
    for path, data in texts.items():
        atomic.write(root / path, data)
    pieces = [*bulk, *pieces_of(texts).values()]
    good = intact_paths(root, pieces, quiet)
    if bad := sorted({one.path for one in pieces} - good):
        raise IntegrityError(
            "the medium does not hold what was written to it",
            where=root,
            got=", ".join(bad[:5]),
            hint="take another medium",
        )


def sums(root: Path, label: LabelName, fresh: Mapping[RelPath, FileEntry]) -> bytes:
    """``SHA256SUMS`` of a label's folder: what is written now, and what stays from before."""
    base = folder(label)
    where = root / base / SUMS
    rows = {
        name: digest
        for name, digest in parse_sums(read_or_none(where) or b"", where).items()
        if (root / base / name).is_file()
    }
    rows |= {path.rpartition("/")[2]: one.sha256 for path, one in fresh.items()}
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(rows.items())).encode()


def drop_others(root: Path, label: LabelName, keep: frozenset[str]) -> None:
    """Remove what other releases left in a label's folder.

    Raises:
        PlaceError: the medium cannot be written.
    """
    base = folder(label)
    with atomic.os_errors_at(root / base):
        there = sorted((root / base).iterdir()) if (root / base).is_dir() else []
    for path in there:
        if f"{base}/{path.name}" not in keep:
            atomic.remove(path)
