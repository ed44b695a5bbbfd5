"""Packs a folder as a conda package, with the two files ``assemble_package`` leaves out.

``info/link.json`` tells conda which entry points a noarch python package has; conda before 4.7
links none without it. ``info/paths.json`` has to name the files that hold a prefix placeholder.
Formats: conda's package specification v1 (.tar.bz2) and CEP 16 (paths.json), .conda format v2.
Same files in, same bytes out.
"""

from __future__ import annotations

import bz2
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from repack.codec import zstd

if TYPE_CHECKING:
    from pathlib import Path

PLACEHOLDER: Final = "/opt/anaconda1anaconda2anaconda3"
EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
Kind = Literal[".conda", ".tar.bz2"]
# Two, whatever the machine has: zstd's bytes depend on whether it works in threads at all.
_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a package says about itself."""

    name: str
    version: str
    build: str
    subdir: str
    depends: tuple[str, ...] = ()
    noarch: Literal["python", "generic"] | None = None
    entry_points: tuple[str, ...] = ()
    license: str | None = None
    summary: str | None = None
    made: datetime = EPOCH

    @property
    def stem(self) -> str:
        """The file name without its ending."""
        return f"{self.name}-{self.version}-{self.build}"


def pack(recipe: Recipe, files: Path, channel: Path, kind: Kind = ".conda", level: int = 6) -> Path:
    """Pack the folder ``files`` into ``channel/SUBDIR/`` and return the archive's path."""
    from rattler_build import ArchiveType, assemble_package

    folder = channel / recipe.subdir
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{recipe.stem}{kind}"
    assemble_package(
        recipe.name,
        recipe.version,
        recipe.subdir,
        recipe.build,
        folder,
        files_dir=files,
        depends=list(recipe.depends),
        noarch=recipe.noarch,
        build_number=int(recipe.build.rpartition("_")[2]),
        license=recipe.license,
        summary=recipe.summary,
        timestamp=recipe.made,
        archive_type=ArchiveType.Conda if kind == ".conda" else ArchiveType.TarBz2,
        compression_level=level,
        compression_threads=_THREADS,
        detect_prefix=False,
    )
    extra = {}
    if recipe.noarch == "python":
        extra["info/link.json"] = _json(
            {
                "noarch": {"entry_points": list(recipe.entry_points), "type": "python"},
                "package_metadata_version": 1,
            }
        )
    prefixed = _prefixed(files)
    if extra or prefixed:
        _amend(archive, extra, prefixed)
    return archive


def _prefixed(files: Path) -> set[str]:
    """The scripts that name the interpreter by the placeholder."""
    scripts = (
        path
        for folder in ("bin", "Scripts", "python-scripts")
        for path in (files / folder).glob("*")
        if path.is_file() and not path.is_symlink()
    )
    return {
        path.relative_to(files).as_posix()
        for path in scripts
        if PLACEHOLDER.encode() in path.read_bytes()
    }


def _amend(archive: Path, extra: dict[str, bytes], prefixed: set[str]) -> None:
    if archive.suffix == ".bz2":
        tar = _amend_tar(bz2.decompress(archive.read_bytes()), extra, prefixed)
        archive.write_bytes(bz2.compress(tar, 9))
        return
    with zipfile.ZipFile(archive) as old:
        parts = [(info, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as new:
        for info, data in parts:
            kept = data
            if info.filename.startswith("info-"):
                tar = zstd.ZstdDecompressor().decompress(data)
                changed = _amend_tar(tar, extra, prefixed)
                kept = zstd.compress(changed, 6)
            new.writestr(info, kept)


def _amend_tar(tar: bytes, extra: dict[str, bytes], prefixed: set[str]) -> bytes:
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(tar)) as old,
        tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        last = tarfile.TarInfo()
        for member in old:
            stream = old.extractfile(member) if member.isfile() else None
            data = stream.read() if stream else b""
            if member.name == "info/paths.json":
                last, data = member, _paths(data, prefixed)
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
        for name, data in extra.items():
            entry = tarfile.TarInfo(name)
            entry.mtime, entry.mode, entry.size = last.mtime, 0o644, len(data)
            new.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _paths(data: bytes, prefixed: set[str]) -> bytes:
    content = json.loads(data)
    for entry in content["paths"]:
        if entry["_path"] in prefixed:
            entry |= {"file_mode": "text", "prefix_placeholder": PLACEHOLDER}
    return _json(content)


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
