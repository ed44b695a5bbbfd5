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
from repack.fs import atomic, beneath
from repack.names import Digest384, RelPath
from repack.progress import SILENT, Progress
from repack.timestamps import stamp

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from repack.bundle.archive import Trust
    from repack.bundle.archive_reader import ReadRelease
    from repack.bundle.folder import DataFolder, HashedFile
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


def prepare(request: PrepareRequest, archive: Path, progress: Progress = SILENT) -> ReleaseManifest:
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
    check_version(request.version)
    hashed = _hash_folders(request.folders, archive, progress)
    if not hashed:
        raise UsageError("there is nothing to package: the folders hold no file")
    artifacts = [ReleaseFile(p, row.file.size, Digest384(row.digest)) for p, row in hashed.items()]
    manifest = ReleaseManifest.of(request.version, stamp(request.moment), artifacts)
    if earlier := _packaged_before(manifest, archive):
        manifest = ReleaseManifest.of(request.version, earlier, artifacts)
    signature = manifest.sign(request.key) if request.key else None
    size = sum(artifact.size for artifact in manifest.artifacts)
    with (
        progress.phase(f"package {request.version}", size, "bytes") as advance,
        atomic.writing(archive) as out,
        gzip.GzipFile("", "wb", _LEVEL, out, mtime=0) as sink,
    ):
        _write(TarWriter(sink, advance), manifest, signature, hashed)
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


def _hash_folders(
    folders: Mapping[Section, Path], archive: Path, progress: Progress
) -> dict[RelPath, HashedFile]:
    """Hash every file of the folders that exist, by its path in the release."""
    existing = {section: folder for section, folder in folders.items() if folder.is_dir()}
    if not existing:
        raise UsageError(
            "there is nothing to package",
            expected="a folder of models, of strategies, or both",
            got=", ".join(f"no folder {folder}" for folder in folders.values()) or None,
        )
    trees: dict[Section, DataFolder] = {}
    problems: list[Problem] = []
    for section, folder in folders.items():
        if section not in existing:
            progress.note(f"no folder {folder}: the release has no {section}")
            continue
        if folder.resolve() in archive.absolute().resolve().parents:
            raise UsageError("the archive would lie in a folder it packs", where=archive)
        try:
            trees[section] = scan_folder(folder)
        except FolderError as error:
            problems += [Problem(f"{section}/{p.where}", p.what) for p in error.problems]
    if problems:
        raise FolderError(problems, where=", ".join(str(folder) for folder in existing.values()))
    hashed: dict[RelPath, HashedFile] = {}
    for section, tree in trees.items():
        if tree.litter:
            progress.note(f"{section}: left out {', '.join(tree.litter)}")
        for row in digests(tree, "sha384", progress=progress):
            hashed[RelPath(f"{section}/{row.file.path}")] = row
    return hashed


def _packaged_before(manifest: ReleaseManifest, archive: Path) -> str | None:
    """When the same content was packaged as the same version, into the same folder."""
    same = {**manifest.raw, "generated_at": None}
    with contextlib.suppress(OSError):
        for path in [archive.parent / entry.name for entry in beneath.scan(archive.parent)]:
            if path.name.endswith(_SUFFIX) and path.is_file():
                with contextlib.suppress(RepackError):
                    earlier = peek(path)
                    if {**earlier.raw, "generated_at": None} == same:
                        return earlier.generated_at
    return None


def _write(
    tar: TarWriter,
    manifest: ReleaseManifest,
    signature: bytes | None,
    hashed: Mapping[RelPath, HashedFile],
) -> None:
    tar.add_text(MANIFEST, manifest.to_bytes())
    if signature is not None:
        tar.add_text(SIGNATURE, signature)
    for artifact in manifest.artifacts:
        source = str(hashed[artifact.path].file.source)
        tar.add(artifact.path, artifact.size, source, artifact.digest)
    tar.close()
