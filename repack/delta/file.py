"""Writes and reads delta files: a tar, its manifest first, compressed unless it is a plain one.

The same release pair, store and versions of the libraries give the same bytes. A member is bounded
by the manifest's size of it, and hashed while it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct

from repack.archive.tar_reader import TarReader
from repack.archive.tar_writer import Sink, TarWriter
from repack.archive.verified_tar import ReleaseFile, VerifiedFiles, errors_naming, max_tar_size
from repack.channel.layout import publish_rank
from repack.channel.manifest import parse
from repack.codec import zstd
from repack.delta.manifest import MANIFEST, PLAIN_MANIFEST, parse_delta
from repack.errors import IntegrityError
from repack.fs import atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from repack.channel.manifest import Artifact, Manifest
    from repack.delta.manifest import Delta, Form
    from repack.names import RelPath


# Packages are compressed already, and metadata gets hardly smaller at a higher level.
_LEVEL: Final = 6
_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_COMPRESSED: Final = 256 << 10
_MANIFEST_LIMIT: Final = 64 << 20
_LIMIT_BEFORE_MEMBERS: Final = _MANIFEST_LIMIT + (64 << 10)


class DeltaContent(Struct, frozen=True):
    """What goes into a delta file, by the name of the member.

    Attributes:
        moment: the time the metadata of a plain delta gets, in seconds since the epoch: clients
            cache by time.
    """

    manifest: Manifest
    texts: Mapping[RelPath, bytes]
    archives: Mapping[RelPath, Path]
    moment: int


def write(path: Path, content: DeltaContent, form: Form, advance: Callable[[int], None]) -> None:
    """Write a delta file; it appears whole or not at all.

    Raises:
        IntegrityError: a package is not, or no longer, what the manifest says.
        SpaceError: the disk is full.
        PlaceError: a file cannot be read or written.
    """
    with atomic.writing(path) as out:
        if form == "plain":
            _write_plain(TarWriter(out, advance), content)
            return
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: _LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        with zstd.ZstdFile(out, "w", options=options) as sink:
            tar = TarWriter(sink, advance)
            tar.add_text(MANIFEST, content.manifest.to_bytes())
            for name in sorted(content.texts):
                tar.add_text(name, content.texts[name])
            _add_archives(tar, content)
            tar.close()


def _write_plain(tar: TarWriter, content: DeltaContent) -> None:
    """In the order of publishing, so that ``tar -x`` leaves no reader without a package."""
    tar.add_text(PLAIN_MANIFEST, content.manifest.to_bytes())
    _add_archives(tar, content)
    for name in sorted(content.texts, key=publish_rank):
        mode = atomic.file_mode(name)
        tar.add_text(name, content.texts[name], content.moment, mode)
    tar.close()


def _add_archives(tar: TarWriter, content: DeltaContent) -> None:
    for artifact in content.manifest.artifacts:
        if artifact.path in content.archives:
            source = str(content.archives[artifact.path])
            tar.add(artifact.path, artifact.size, source, artifact.sha256 or "")


class DeltaFile(Struct, frozen=True):
    """An open delta file whose manifest was read; its signature is not checked yet."""

    path: Path
    sha256: str
    manifest: Manifest
    delta: Delta
    _tar: TarReader

    def read_members(self, take: Callable[[Artifact], AbstractContextManager[Sink]]) -> None:
        """Read all members, each into the sink that ``take`` gives for it.

        Raises:
            IntegrityError: a member is not what the manifest says, is not in it, or is missing.
        """
        artifacts = {artifact.path: artifact for artifact in self.manifest.artifacts}
        listed = tuple(ReleaseFile(a.path, a.size, a.entry.sha256) for a in artifacts.values())
        self._tar.limit = self._tar.consumed + max_tar_size(listed)
        verified = VerifiedFiles(listed, lambda file: take(artifacts[file.path]))
        with errors_naming(self.path):
            for member in self._tar:
                if member.kind != "file":
                    raise IntegrityError(f"the delta holds a {member.kind}", got=member.name[:200])
                verified.take(member.name, member, self._tar)
            self._tar.finish()
            verified.end()


@contextlib.contextmanager
def open_delta(path: Path) -> Iterator[DeltaFile]:
    """Open a delta file and read its manifest.

    Raises:
        IntegrityError: it is none.
        PlaceError: it cannot be read.
    """
    with atomic.os_errors_at(path), path.open("rb") as stream, errors_naming(path):
        is_compressed = stream.read(len(_MAGIC)) == _MAGIC
        stream.seek(0)
        chunks = (
            _decompressed(stream) if is_compressed else iter(lambda: stream.read(atomic.CHUNK), b"")
        )
        tar = TarReader(chunks, _LIMIT_BEFORE_MEMBERS)
        first = next(iter(tar), None)
        name = MANIFEST if is_compressed else PLAIN_MANIFEST
        if first is None or first.kind != "file" or first.name != name:
            raise IntegrityError(
                "no delta",
                expected=f"{name} as the first member",
                got=first.name[:200] if first else None,
            )
        data = tar.read_all(_MANIFEST_LIMIT)
        manifest = parse(data, path)
        sha256 = hashlib.sha256(data).hexdigest()
        yield DeltaFile(path, sha256, manifest, parse_delta(manifest, path), tar)


def _decompressed(stream: IO[bytes]) -> Iterator[bytes]:
    """One zstd frame; its checksum is checked when the last byte is asked for."""
    decompressor = zstd.ZstdDecompressor()
    while not decompressor.eof:
        data = stream.read(_COMPRESSED) if decompressor.needs_input else b""
        if decompressor.needs_input and not data:
            raise IntegrityError("the delta is cut off")
        try:
            chunk = decompressor.decompress(data, atomic.CHUNK)
        except zstd.ZstdError as fault:
            raise IntegrityError("the delta is damaged", got=fault) from fault
        if chunk:
            yield chunk
    if decompressor.unused_data or stream.read(1):
        raise IntegrityError("data is hidden behind the end of the delta")
