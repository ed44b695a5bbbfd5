"""OEM: a release as one file for one platform, and the way of such files to a medium."""

from __future__ import annotations

import gzip
from importlib import resources
from typing import TYPE_CHECKING, Final

from repack.archive.tar_writer import TarWriter
from repack.channel.folder import read_or_none
from repack.channel.integrity import SUMS, parse_sums
from repack.errors import IntegrityError
from repack.fs import atomic
from repack.medium import oem_bundle
from repack.progress import SILENT, Progress
from repack.sync.copy import Brake, copy
from repack.sync.plan import Piece, pieces_of
from repack.sync.staging import right

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.medium.oem_bundle import Sheet
    from repack.names import LabelName, RelPath
    from repack.sync.plan import Cargo

# Packages are compressed already; more would only cost time.
_LEVEL: Final = 1


def bundle(
    cargo: Cargo,
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
    packages = oem_bundle.packages_for(cargo, platform)
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
        for path, data in oem_bundle.texts_in_order(cargo):
            mode = 0o755 if path.endswith(".sh") else 0o644
            tar.text(f"{cargo.label}/{path}", data, mode=mode)
        tar.close()


def checklist(sheet: Sheet) -> bytes:
    """The checklist for one release and device."""
    template = (
        resources.files("repack.shipped").joinpath(oem_bundle.CHECKLIST).read_text(encoding="utf-8")
    )
    return sheet.fill(template).encode()


def piece(path: RelPath, file: Path) -> Piece:
    """A file that is to go to ``path`` on a medium."""
    return Piece(path, *atomic.digest(file))


def put(
    root: Path, bulk: Mapping[Piece, Path], texts: Mapping[RelPath, bytes], rate: int | None
) -> None:
    """Copy files and texts to their places on a medium, and read them back.

    Raises:
        IntegrityError: the medium does not hold what is written to it.
        SpaceError: the medium is full.
        PlaceError: it cannot be written, or was pulled.
    """
    brake, quiet = Brake(rate), lambda _count: None
    for wanted, source in bulk.items():
        if right(root, [wanted], quiet):
            continue
        place = root / wanted.path
        temp = place.with_name(f"{atomic.TEMP_PREFIX}{place.name}")
        copy(source, temp, wanted, brake, quiet)
        atomic.flush([temp])
        with atomic.faults_at(place):
            atomic.rename(temp, place)
    for path, data in texts.items():
        atomic.write(root / path, data)
    pieces = [*bulk, *pieces_of(texts).values()]
    good = right(root, pieces, quiet)
    if bad := sorted({one.path for one in pieces} - good):
        raise IntegrityError(
            "the medium does not hold what was written to it",
            where=root,
            got=", ".join(bad[:5]),
            hint="take another medium",
        )


def sums(root: Path, label: LabelName, fresh: Mapping[RelPath, Piece]) -> bytes:
    """``SHA256SUMS`` of a label's folder: what is written now, and what stays from before."""
    base = oem_bundle.folder(label)
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
    base = oem_bundle.folder(label)
    with atomic.faults_at(root / base):
        there = sorted((root / base).iterdir()) if (root / base).is_dir() else []
    for path in there:
        if f"{base}/{path.name}" not in keep:
            atomic.remove(path)
