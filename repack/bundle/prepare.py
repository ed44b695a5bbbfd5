"""Prepare and verify releases of models and strategies."""

from __future__ import annotations

import contextlib
import gzip
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.archive.tar_writer import TarWriter
from repack.archive.verified_tar import ReleaseFile, Section
from repack.bundle.archive import MANIFEST, SIGNATURE, ReleaseManifest, check_version
from repack.bundle.archive_reader import peek
from repack.bundle.folder import digests, scan_folder
from repack.bundle.package_reader import read_release
from repack.errors import FolderError, Problem, RepackError, UsageError
from repack.fs import atomic
from repack.names import Digest384, RelPath
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from repack.bundle.archive import Trust
    from repack.bundle.archive_reader import ReadRelease
    from repack.bundle.folder import DataFolder, Hashed
    from repack.keys.shared_key import SharedKey

_LEVEL: Final = 6
_SUFFIX: Final = ".tar.gz"


class PrepareRequest(Struct, frozen=True):
    """A release to be packaged.

    Attributes:
        folders: per section; one that does not exist is left out, if another one does.
        moment: the time the release gets, unless the same content was packaged before.
        key: signs the manifest.
    """

    version: str
    folders: Mapping[Section, Path]
    moment: dt.datetime
    key: SharedKey | None = None


def prepare(order: PrepareRequest, archive: Path, progress: Progress = SILENT) -> ReleaseManifest:
    """Write a release archive; it appears whole or not at all.

    The same files, version and key give the same bytes: the time of a release is that of an
    archive of the same version and files that already lies beside ``archive``, if there is one.

    Raises:
        UsageError: no folder is there, or the version is none.
        FolderError: lists every file that an archive cannot carry to every system.
        IntegrityError: a file changed while it was packed.
        SpaceError: the disk is full.
        PlaceError: a file cannot be read or the archive not written.
    """
    check_version(order.version)
    found = _gather(order.folders, archive, progress)
    if not found:
        raise UsageError("there is nothing to package: the folders hold no file")
    artifacts = {
        path: ReleaseFile(path, one.leaf.size, Digest384(one.digest)) for path, one in found
    }
    stamp = f"{order.moment:%Y-%m-%dT%H:%M:%SZ}"
    manifest = ReleaseManifest.of(order.version, stamp, artifacts.values())
    if earlier := _packaged_before(manifest, archive):
        manifest = ReleaseManifest.of(order.version, earlier, artifacts.values())
    signature = manifest.sign(order.key) if order.key else None
    size = sum(artifact.size for artifact in manifest.artifacts)
    with (
        progress.phase(f"package {order.version}", size, "bytes") as advance,
        atomic.writing(archive) as out,
        gzip.GzipFile("", "wb", _LEVEL, out, mtime=0) as sink,
    ):
        _write(TarWriter(sink, advance), manifest, signature, dict(found))
    return manifest


def verify(source: Path, trust: Trust, progress: Progress = SILENT) -> ReadRelease:
    """Check a release from its first byte to its last.

    Args:
        source: an archive, a bundle's conda package, or a channel's folder.

    Raises:
        IntegrityError: it is not whole.
        SignatureError: the signature is not what ``trust`` asks for.
        PlaceError: it cannot be read.
    """
    with progress.phase(f"verify {source.name}", None, "files"):
        return read_release(source, trust)


def _gather(
    folders: Mapping[Section, Path], archive: Path, progress: Progress
) -> list[tuple[RelPath, Hashed]]:
    there = {section: folder for section, folder in folders.items() if folder.is_dir()}
    if not there:
        raise UsageError(
            "there is nothing to package",
            expected="a folder of models, of strategies, or both",
            got=", ".join(f"no folder {folder}" for folder in folders.values()) or None,
        )
    trees: dict[Section, DataFolder] = {}
    problems: list[Problem] = []
    for section, folder in folders.items():
        if section not in there:
            progress.note(f"no folder {folder}: the release has no {section}")
            continue
        if folder.resolve() in archive.absolute().resolve().parents:
            raise UsageError("the archive would lie in a folder it packs", where=archive)
        try:
            trees[section] = scan_folder(folder)
        except FolderError as error:
            problems += [Problem(f"{section}/{p.where}", p.what) for p in error.problems]
    if problems:
        raise FolderError(problems, where=", ".join(str(folder) for folder in there.values()))
    return [row for section, tree in trees.items() for row in _hashed(section, tree, progress)]


def _hashed(section: Section, tree: DataFolder, progress: Progress) -> list[tuple[RelPath, Hashed]]:
    if tree.litter:
        progress.note(f"{section}: left out {', '.join(tree.litter)}")
    hashed = digests(tree, "sha384", progress=progress)
    return [(RelPath(f"{section}/{one.leaf.path}"), one) for one in hashed]


def _packaged_before(manifest: ReleaseManifest, archive: Path) -> str | None:
    """When the same content was packaged as the same version, into the same folder."""
    same = {**manifest.raw, "generated_at": None}
    with contextlib.suppress(OSError):
        for other in sorted(archive.parent.iterdir()):
            if other.name.endswith(_SUFFIX) and other.is_file():
                with contextlib.suppress(RepackError):
                    earlier = peek(other)
                    if {**earlier.raw, "generated_at": None} == same:
                        return earlier.generated_at
    return None


def _write(
    tar: TarWriter,
    manifest: ReleaseManifest,
    signature: bytes | None,
    found: Mapping[RelPath, Hashed],
) -> None:
    tar.add_text(MANIFEST, manifest.to_bytes())
    if signature is not None:
        tar.add_text(SIGNATURE, signature)
    for artifact in manifest.artifacts:
        source = str(found[artifact.path].leaf.source)
        tar.add(artifact.path, artifact.size, source, artifact.digest)
    tar.close()
