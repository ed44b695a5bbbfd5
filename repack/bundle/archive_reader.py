"""Reads a release archive of models and strategies.

Rules of this module:

- Nothing is believed before it is checked: manifest and signature first, then every file is hashed
  while it is handed on, and a name, type or size that the manifest does not list stops the reading
  at once. So nothing unpacks to more than the manifest says.
- Whoever is handed bytes must not use them before the reading has ended well.
"""

from __future__ import annotations

import zlib
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct

from repack.archive.tar_reader import TarReader
from repack.archive.verified_tar import (
    SECTIONS,
    TAR_OVERHEAD,
    Take,
    VerifiedFiles,
    discard,
    errors_naming,
    max_tar_size,
)
from repack.bundle.archive import (
    MANIFEST,
    MANIFEST_LIMIT,
    SIGNATURE,
    SIGNATURE_LIMIT,
    Checked,
    ReleaseManifest,
    Trust,
)
from repack.errors import IntegrityError
from repack.fs import beneath
from repack.fs.atomic import CHUNK, os_errors_at
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.archive.tar_reader import TarMember

_COMPRESSED: Final = 256 << 10
_GZIP: Final = 31  # zlib's word for "with a gzip header"


class ReadRelease(Struct, frozen=True):
    """A release that was read to its end and found whole."""

    manifest: ReleaseManifest
    checked: Checked


def read_archive(path: Path, trust: Trust, take: Take = discard) -> ReadRelease:
    """Read a release archive from beginning to end.

    Args:
        take: opens the place for one file, once its name and size are known to be right.

    Raises:
        IntegrityError: cut off, damaged, no release archive, or not what its manifest says.
        SignatureError: the signature is not what ``trust`` asks for.
        PlaceError: it cannot be read.
    """
    with os_errors_at(path), beneath.reading(path) as stream, errors_naming(path):
        return _Reading(TarReader(_gunzip(stream), _FIRST), trust, take).run()


def peek(path: Path) -> ReleaseManifest:
    """Read the manifest of an archive, and nothing else of it.

    Raises:
        IntegrityError: there is none at its beginning.
        PlaceError: it cannot be read.
    """
    with os_errors_at(path), beneath.reading(path) as stream, errors_naming(path):
        tar = TarReader(_gunzip(stream), _FIRST)
        for member in tar:
            if member.name == MANIFEST and member.kind == "file":
                return ReleaseManifest.parse(tar.read_all(MANIFEST_LIMIT))
            break
        raise IntegrityError("no release archive", expected=f"{MANIFEST} as the first file")


_FIRST: Final = MANIFEST_LIMIT + SIGNATURE_LIMIT + 64 * TAR_OVERHEAD


class _Reading:
    """One pass through an archive."""

    def __init__(self, tar: TarReader, trust: Trust, take: Take) -> None:
        self._tar = tar
        self._trust = trust
        self._take = take
        self._checked: Checked = "unsigned"
        self._manifest: ReleaseManifest | None = None
        self._signature: bytes | None = None
        self._files: VerifiedFiles | None = None

    def run(self) -> ReadRelease:
        for member in self._tar:
            self._see(RelPath(member.name), member)
        self._tar.finish()
        if self._manifest is None:
            raise IntegrityError("no release archive", expected=f"{MANIFEST} as the first file")
        self._admitted(self._manifest).end()
        return ReadRelease(self._manifest, self._checked)

    def _see(self, name: RelPath, member: TarMember) -> None:
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
            self._manifest = ReleaseManifest.parse(self._tar.read_all(MANIFEST_LIMIT))
        elif name == SIGNATURE and self._signature is None and self._files is None:
            self._signature = self._tar.read_all(SIGNATURE_LIMIT)
        else:
            self._admitted(self._manifest).take(name, member, self._tar)

    def _admitted(self, manifest: ReleaseManifest) -> VerifiedFiles:
        if self._files is None:
            self._checked = manifest.check(self._signature, self._trust)
            self._files = VerifiedFiles(manifest.artifacts, self._take)
            self._tar.limit = self._tar.consumed + max_tar_size(manifest.artifacts)
        return self._files


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
