"""Reads a release archive of models and strategies.

Rules of this module:

- Nothing is believed before it is checked: manifest and signature first, then every file is hashed
  while it is handed on, and a name, type or size that the manifest does not list stops the reading
  at once. So nothing unpacks to more than the manifest says.
- Whoever is handed bytes must not use them before the reading has ended well.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, Protocol

from repack.archive.tar_reader import BLOCK, Tar
from repack.bundle.archive import (
    MANIFEST,
    MANIFEST_LIMIT,
    SECTIONS,
    SIGNATURE,
    SIGNATURE_LIMIT,
    Artifact,
    Checked,
    ReleaseManifest,
    Trust,
    some,
)
from repack.errors import IntegrityError
from repack.fs.atomic import CHUNK, faults_at
from repack.names import Digest384, RelPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.archive.tar_reader import Member

_COMPRESSED: Final = 256 << 10
_GZIP: Final = 31  # zlib's word for "with a gzip header"
# What one member may cost beside its data: header, pax header, padding, and a folder or two.
_OVERHEAD: Final = 16 * BLOCK
_RECORD: Final = 20 * BLOCK


class Sink(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take ``data``."""


class Nowhere:
    """Takes bytes and forgets them: for checking alone."""

    def write(self, data: bytes, /) -> None:
        """Drop ``data``."""


NOWHERE: Final = Nowhere()


def nowhere(artifact: Artifact) -> AbstractContextManager[Sink]:
    """Take a file for checking alone."""
    del artifact
    return contextlib.nullcontext(NOWHERE)


Take = Callable[[Artifact], AbstractContextManager[Sink]]


@dataclass(frozen=True, slots=True)
class Read:
    """A release that was read to its end and found whole."""

    manifest: ReleaseManifest
    checked: Checked


def read_archive(path: Path, trust: Trust, take: Take = nowhere) -> Read:
    """Read a release archive from beginning to end.

    Args:
        take: opens the place for one file, once its name and size are known to be right.

    Raises:
        IntegrityError: cut off, damaged, no release archive, or not what its manifest says.
        SignatureError: the signature is not what ``trust`` asks for.
        PlaceError: it cannot be read.
    """
    with faults_at(path), path.open("rb") as stream, blamed_on(path):
        return _Reading(Tar(_gunzip(stream), _FIRST), trust, take).run()


def peek(path: Path) -> ReleaseManifest:
    """Read the manifest of an archive, and nothing else of it.

    Raises:
        IntegrityError: there is none at its beginning.
        PlaceError: it cannot be read.
    """
    with faults_at(path), path.open("rb") as stream, blamed_on(path):
        tar = Tar(_gunzip(stream), _FIRST)
        for member in tar:
            if member.name == MANIFEST and member.kind == "file":
                return ReleaseManifest.parse(tar.data(MANIFEST_LIMIT))
            break
        raise IntegrityError("no release archive", expected=f"{MANIFEST} as the first file")


_FIRST: Final = MANIFEST_LIMIT + SIGNATURE_LIMIT + 64 * _OVERHEAD


class _Reading:
    """One pass through an archive."""

    def __init__(self, tar: Tar, trust: Trust, take: Take) -> None:
        self._tar = tar
        self._trust = trust
        self._take = take
        self._checked: Checked = "unsigned"
        self._manifest: ReleaseManifest | None = None
        self._signature: bytes | None = None
        self._files: Files | None = None

    def run(self) -> Read:
        for member in self._tar:
            self._see(RelPath(member.name), member)
        self._tar.finish()
        if self._manifest is None:
            raise IntegrityError("no release archive", expected=f"{MANIFEST} as the first file")
        self._admitted(self._manifest).end()
        return Read(self._manifest, self._checked)

    def _see(self, name: RelPath, member: Member) -> None:
        if member.kind == "folder":
            if name.split("/")[0] not in SECTIONS:
                raise IntegrityError("the archive holds a folder that does not belong", got=name)
        elif member.kind != "file":
            raise IntegrityError(
                f"the archive holds a {member.kind}", expected="plain files", got=name
            )
        elif self._manifest is None:
            if name != MANIFEST:
                raise IntegrityError(
                    "no release archive", expected=f"{MANIFEST} as the first file", got=name
                )
            self._manifest = ReleaseManifest.parse(self._tar.data(MANIFEST_LIMIT))
        elif name == SIGNATURE and self._signature is None and self._files is None:
            self._signature = self._tar.data(SIGNATURE_LIMIT)
        else:
            self._admitted(self._manifest).take(name, member, self._tar)

    def _admitted(self, manifest: ReleaseManifest) -> Files:
        if self._files is None:
            self._checked = manifest.check(self._signature, self._trust)
            self._files = Files(manifest.artifacts, self._take)
            self._tar.limit = self._tar.seen + budget(manifest.artifacts)
        return self._files


class Files:
    """The files that are still to come, each by its name in the archive.

    Args:
        prefix: what stands before an artifact's path in the archive.
    """

    def __init__(self, artifacts: tuple[Artifact, ...], take: Take, prefix: str = "") -> None:
        self._due = {f"{prefix}{artifact.path}": artifact for artifact in artifacts}
        self._names = frozenset(self._due)
        self._take = take

    def take(self, name: str, member: Member, tar: Tar) -> None:
        """Check one file and hand it on.

        Raises:
            IntegrityError: it is not listed, has come before, or is not what the list says.
        """
        artifact = self._due.pop(name, None)
        if artifact is None:
            fault = "twice" if name in self._names else "that its manifest does not list"
            raise IntegrityError(f"the archive holds a file {fault}", got=name[:200])
        if member.size != artifact.size:
            raise IntegrityError(
                f"{name} has the wrong size", expected=artifact.size, got=member.size
            )
        hasher = hashlib.sha384() if isinstance(artifact.digest, Digest384) else hashlib.sha256()
        with self._take(artifact) as sink:
            while data := tar.beginning(CHUNK):
                hasher.update(data)
                sink.write(data)
        if hasher.hexdigest() != artifact.digest:
            raise IntegrityError(
                f"{name} has the wrong {hasher.name}",
                expected=artifact.digest,
                got=hasher.hexdigest(),
            )

    def end(self) -> None:
        """Make sure that all have come.

        Raises:
            IntegrityError: names those that have not.
        """
        if self._due:
            raise IntegrityError(
                "files that the manifest lists are missing", got=some(sorted(self._due))
            )


def budget(artifacts: tuple[Artifact, ...]) -> int:
    """The bytes a tar archive of these files may have, generously."""
    return _RECORD + 64 * _OVERHEAD + sum(a.size + _OVERHEAD for a in artifacts)


@contextlib.contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """Say in integrity errors which archive it was."""
    try:
        yield
    except IntegrityError as fault:
        if fault.where is None:
            fault.where = str(path)
        elif "/" not in fault.where:
            fault.where = f"{path}: {fault.where}"
        raise


def _gunzip(stream: IO[bytes]) -> Iterator[bytes]:
    """Decompress one gzip member; its checksum is checked when the last byte is asked for."""
    machine = zlib.decompressobj(_GZIP)
    while not machine.eof:
        data = machine.unconsumed_tail or stream.read(_COMPRESSED)
        if not data:
            raise IntegrityError("the archive is cut off")
        try:
            chunk = machine.decompress(data, CHUNK)
        except zlib.error as fault:
            raise IntegrityError("the archive is damaged, or no gzip file", got=fault) from fault
        if chunk:
            yield chunk
    if machine.unused_data or stream.read(1):
        raise IntegrityError("data is hidden behind the end of the archive")
