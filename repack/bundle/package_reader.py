"""Reads bundles as releases: one bundle's conda package, or the bundles of a channel.

A package shows that it is whole, not who made it; that takes the channel around it, whose manifest
is signed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
from typing import TYPE_CHECKING, Final

from msgspec import field

from repack.archive.reader import open_tar_streams
from repack.archive.tar_reader import TarReader
from repack.archive.verified_tar import (
    SECTIONS,
    ReleaseFile,
    Take,
    VerifiedFiles,
    discard,
    errors_naming,
    max_tar_size,
)
from repack.bundle.archive import ReleaseManifest, Trust
from repack.bundle.archive_reader import ReadRelease, read_archive
from repack.channel import manifest
from repack.channel.layout import MANIFEST
from repack.codec import canonical
from repack.codec.decode import Document, decode
from repack.conda.subdir import NOARCH
from repack.errors import IntegrityError, PlaceError, UsageError
from repack.fs import atomic, beneath
from repack.names import Digest, RelPath
from repack.timestamps import stamp

if TYPE_CHECKING:
    from pathlib import Path

    from repack.archive.tar_reader import TarMember
    from repack.archive.verified_tar import Section
    from repack.bundle.archive import Checked

_SUFFIXES: Final = (".conda", ".tar.bz2")
_INFO_LIMIT: Final = 256 << 20
_FILE_LIMIT: Final = 64 << 20
_INDEX: Final = "info/index.json"
_PATHS: Final = "info/paths.json"
_NO_TIME: Final = "1980-01-01T00:00:00Z"
_SHARE: Final = "share/repack/"


class _Index(Document, frozen=True):
    """``info/index.json`` (CEP 34), as far as it is needed; ``timestamp`` in milliseconds."""

    name: str
    version: str
    build: str
    timestamp: int | float


class _PathRow(Document, frozen=True):
    path: str = field(name="_path")
    kind: str = field(name="path_type")
    size: int = field(name="size_in_bytes")
    sha256: Digest


class _Paths(Document, frozen=True):
    """``info/paths.json`` (CEP 34)."""

    paths: tuple[_PathRow, ...]


def read_release(source: Path, trust: Trust, take: Take = discard) -> ReadRelease:
    """Read a release: an archive, a bundle's conda package, or a channel's folder.

    Raises:
        IntegrityError: it is not whole.
        SignatureError: the signature is not what ``trust`` asks for.
        PlaceError: it cannot be read.
    """
    if source.is_dir():
        return read_channel(source, trust, take)
    if source.name.endswith(_SUFFIXES):
        return read_package(source, trust, take)
    return read_archive(source, trust, take)


def read_package(path: Path, trust: Trust, take: Take = discard) -> ReadRelease:
    """Read a bundle's conda package. Raises as :func:`read_release` does."""
    checked = trust.unsigned()
    with (
        atomic.os_errors_at(path),
        beneath.reading(path) as stream,
        errors_naming(path),
        contextlib.closing(open_tar_streams(stream, path.name)) as streams,
    ):
        reading = _Package(path.name, take)
        for chunks in streams:
            reading.walk(TarReader(chunks, _INFO_LIMIT))
        return ReadRelease(reading.end(), checked)


def read_channel(folder: Path, trust: Trust, take: Take = discard) -> ReadRelease:
    """Read the bundles ``models`` and ``strategies`` of a channel.

    Raises as :func:`read_release` does.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise PlaceError("no channel of repack", where=folder, expected=MANIFEST)
    release = manifest.parse(atomic.read(path, manifest.MAX_BYTES), path)
    checked = _check(release, trust, path)
    artifacts: list[ReleaseFile] = []
    for section in SECTIONS:
        if package := _package(release, section):
            _check_file(folder / package.path, package)
            artifacts += read_package(folder / package.path, Trust(), take).manifest.artifacts
    if not artifacts:
        raise UsageError(f"the channel has no bundle {' or '.join(SECTIONS)}", where=folder)
    generated = release.generated_at or _NO_TIME
    return ReadRelease(ReleaseManifest.of(release.version, generated, artifacts), checked)


def _check(release: manifest.Manifest, trust: Trust, path: Path) -> Checked:
    if trust.key is not None:
        release.check(trust.key, path)
        return "verified"
    return "not checked" if release.signature else trust.unsigned()


def _package(release: manifest.Manifest, section: Section) -> manifest.Artifact | None:
    name = f"{NOARCH}/{release.id}-{section}"
    packages = [
        artifact
        for artifact in release.artifacts
        if artifact.path.endswith(_SUFFIXES) and artifact.path.rsplit("-", 2)[0] == name
    ]
    if len(packages) > 1:
        raise IntegrityError(f"the release has more than one bundle {section}", where=MANIFEST)
    return packages[0] if packages else None


def _check_file(path: Path, listed: manifest.Artifact) -> None:
    sha256, sha384, size = hashlib.sha256(), hashlib.sha384(), 0
    with atomic.os_errors_at(path), beneath.reading(path) as stream:
        while data := stream.read(atomic.CHUNK):
            size += len(data)
            for hasher in (sha256, sha384):
                hasher.update(data)
    actual = (size, sha256.hexdigest(), sha384.hexdigest())
    for expected, got in zip((listed.size, listed.sha256, listed.sha384), actual, strict=True):
        if expected is not None and expected != got:
            raise IntegrityError(
                "is not what the manifest says", where=path, expected=expected, got=got
            )


class _Package:
    """One pass through the tar streams of a package, ``info/`` first."""

    def __init__(self, fn: str, take: Take) -> None:
        self._fn = fn
        self._take = take
        self._info: dict[str, bytes] = {}
        self._manifest: ReleaseManifest | None = None
        self._files: VerifiedFiles | None = None

    def walk(self, tar: TarReader) -> None:
        for member in tar:
            self._see(RelPath(member.name), member, tar)
        tar.finish()

    def end(self) -> ReleaseManifest:
        release, due = self._described()
        due.end()
        return release

    def _see(self, name: RelPath, member: TarMember, tar: TarReader) -> None:
        if member.kind == "folder":
            return
        if member.kind != "file":
            raise IntegrityError(f"the package holds a {member.kind}", got=name)
        if name in self._info:
            raise IntegrityError("the package holds a file twice", got=name)
        if name in {_INDEX, _PATHS} and self._files is None:
            self._info[name] = tar.read_all(_FILE_LIMIT)
        elif not name.startswith("info/"):
            release, due = self._described()
            if tar.limit == _INFO_LIMIT:
                tar.limit = tar.consumed + max_tar_size(release.artifacts)
            due.take(name, member, tar)

    def _described(self) -> tuple[ReleaseManifest, VerifiedFiles]:
        if self._manifest is None or self._files is None:
            for name in (_INDEX, _PATHS):
                if name not in self._info:
                    raise IntegrityError("no bundle of repack", expected=f"{name} before the files")
            prefix, self._manifest = _describe(self._info[_INDEX], self._info[_PATHS], self._fn)
            self._files = VerifiedFiles(self._manifest.artifacts, self._take, prefix)
        return self._manifest, self._files


def _describe(index_file: bytes, paths_file: bytes, fn: str) -> tuple[str, ReleaseManifest]:
    """The release that a package describes, and what stands before each artifact's path in it."""
    index = decode(_Index, canonical.loads(index_file, _INDEX, _FILE_LIMIT), fn, _INDEX)
    paths = decode(_Paths, canonical.loads(paths_file, _PATHS, _FILE_LIMIT), fn, _PATHS)
    if not fn.startswith(f"{index.name}-{index.version}-{index.build}."):
        raise IntegrityError(
            "the package is not what its name says", got=f"{index.name} {index.version}"
        )
    label, _, section = index.name.rpartition("-")
    if section not in SECTIONS:
        raise UsageError(f"{index.name} is no bundle {' or '.join(SECTIONS)}", where=fn)
    prefix = f"{_SHARE}{label}/"
    artifacts = []
    for row in paths.paths:
        if row.kind != "hardlink" or not row.path.startswith(f"{prefix}{section}/"):
            raise IntegrityError("no bundle of repack: it holds other files", got=row.path[:200])
        artifacts.append(ReleaseFile(RelPath(row.path.removeprefix(prefix)), row.size, row.sha256))
    try:
        moment = dt.datetime.fromtimestamp(index.timestamp / 1000, dt.UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise IntegrityError("the package's timestamp is no time", got=index.timestamp) from error
    return prefix, ReleaseManifest.of(index.version, stamp(moment), artifacts)
