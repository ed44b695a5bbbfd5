"""OEM: a release as one file for one platform, and the way of such files to a medium."""

from __future__ import annotations

import gzip
from importlib import resources
from typing import TYPE_CHECKING, Final

from repack.errors import IntegrityError
from repack.model import oem
from repack.model.cargo import Piece, pieces_of
from repack.model.integrity import SUMS, parse_sums
from repack.model.progress import SILENT, Progress
from repack.places import files
from repack.places.carrier import Brake, copy
from repack.places.channel import read_or_none
from repack.places.stage import right
from repack.places.tar_writer import TarWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.model.cargo import Cargo
    from repack.model.names import LabelName, RelPath
    from repack.model.oem import Sheet

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
    packages = oem.packages_for(cargo, platform)
    size = sum(piece.size for piece in packages)
    with (
        progress.phase(f"write {out.name}", size, "bytes") as advance,
        files.writing(out) as sink,
        gzip.GzipFile("", "wb", _LEVEL, sink, mtime=0) as zipped,
    ):
        tar = TarWriter(zipped, advance)
        for piece in packages:
            name = f"{cargo.label}/{piece.path}"
            tar.add(name, piece.size, str(tree[piece.path]), piece.sha256)
        for path, data in oem.texts_in_order(cargo):
            mode = 0o755 if path.endswith(".sh") else 0o644
            tar.text(f"{cargo.label}/{path}", data, mode=mode)
        tar.close()


def checklist(sheet: Sheet) -> bytes:
    """The checklist for one release and device."""
    template = resources.files("repack.data").joinpath(oem.CHECKLIST).read_text(encoding="utf-8")
    return sheet.fill(template).encode()


def piece(path: RelPath, file: Path) -> Piece:
    """A file that is to go to ``path`` on a medium."""
    return Piece(path, *files.digest(file))


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
        temp = place.with_name(f"{files.TEMP_PREFIX}{place.name}")
        copy(source, temp, wanted, brake, quiet)
        files.flush([temp])
        with files.faults_at(place):
            files.rename(temp, place)
    for path, data in texts.items():
        files.write(root / path, data)
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
    base = oem.folder(label)
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
    base = oem.folder(label)
    with files.faults_at(root / base):
        there = sorted((root / base).iterdir()) if (root / base).is_dir() else []
    for path in there:
        if f"{base}/{path.name}" not in keep:
            files.remove(path)
