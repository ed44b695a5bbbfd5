"""Writes and reads delta files: a tar, its manifest first.

A patched delta is compressed with zstd and lies in one folder; a plain one is compressed with gzip if
its name ends with ``.gz``, and its members lie where the channel has them.
The same release pair, store and versions of the libraries give the same bytes. A member is bounded
by the manifest's size of it, and hashed while it is read.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import re
import zlib
from typing import IO, TYPE_CHECKING, Final

from msgspec import Struct

from repack.archive.tar_reader import TarReader
from repack.archive.tar_writer import Sink, TarWriter
from repack.archive.verified_tar import ReleaseFile, VerifiedFiles, errors_naming, max_tar_size
from repack.channel.layout import publish_rank
from repack.channel.leftovers import list_name
from repack.channel.manifest import parse
from repack.codec import zstd
from repack.delta.manifest import MANIFEST, folder_name, parse_delta
from repack.errors import IntegrityError
from repack.fs import atomic, beneath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from repack.channel.manifest import Artifact, Manifest
    from repack.delta.manifest import Delta, Form
    from repack.names import RelPath


# Packages are compressed already, and metadata gets hardly smaller at a higher level.
_LEVEL: Final = 6
# Packages are most of a plain delta, and they are compressed already.
_GZIP_LEVEL: Final = 1
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC: Final = b"\x1f\x8b"
# How a patched and a plain delta begin; older ones have neither folder nor number.
_PATCHED_FIRST: Final = re.compile(rf"(?P<folder>[^/]+\.delta/)?{re.escape(MANIFEST)}")
_PLAIN_FIRST: Final = re.compile(r"\.repack-delta(?:-[0-9]+)?\.json")
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
            if path.suffix != ".gz":
                _write_plain(TarWriter(out, advance), content)
                return
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, out, mtime=0) as zipped:
                _write_plain(TarWriter(zipped, advance), content)
            return
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: _LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        with zstd.ZstdFile(out, "w", options=options) as sink:
            tar = TarWriter(sink, advance)
            folder = folder_name(content.manifest.id, parse_delta(content.manifest, path)) + "/"
            tar.add_text(f"{folder}{MANIFEST}", content.manifest.to_bytes())
            for name in sorted(content.texts):
                tar.add_text(f"{folder}{name}", content.texts[name])
            _add_archives(tar, content, folder)
            tar.close()


def _write_plain(tar: TarWriter, content: DeltaContent) -> None:
    """In the order of publishing, so that ``tar -x`` leaves no reader without a package."""
    # Under a name that readers of a channel take for litter: it stays in the channel.
    tar.add_text(list_name(content.manifest.version), content.manifest.to_bytes())
    _add_archives(tar, content)
    for name in sorted(content.texts, key=publish_rank):
        mode = atomic.file_mode(name)
        tar.add_text(name, content.texts[name], content.moment, mode)
    tar.close()


def _add_archives(tar: TarWriter, content: DeltaContent, folder: str = "") -> None:
    for artifact in content.manifest.artifacts:
        if artifact.path in content.archives:
            source = str(content.archives[artifact.path])
            tar.add(f"{folder}{artifact.path}", artifact.size, source, artifact.sha256 or "")


class DeltaFile(Struct, frozen=True):
    """An open delta file whose manifest was read; its signature is not checked yet.

    The folder that its members lie in ends with a slash; none for a plain delta.
    """

    path: Path
    sha256: str
    manifest: Manifest
    delta: Delta
    _tar: TarReader
    _folder: str

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
                if not member.name.startswith(self._folder):
                    raise IntegrityError("a member lies beside the others", got=member.name[:200])
                verified.take(member.name.removeprefix(self._folder), member, self._tar)
            self._tar.finish()
            verified.end()


@contextlib.contextmanager
def open_delta(path: Path) -> Iterator[DeltaFile]:
    """Open a delta file and read its manifest.

    Raises:
        IntegrityError: it is none.
        PlaceError: it cannot be read.
    """
    with atomic.os_errors_at(path), beneath.reading(path) as stream, errors_naming(path):
        tar = TarReader(_chunks(stream), _LIMIT_BEFORE_MEMBERS)
        first = next(iter(tar), None)
        name = first.name if first is not None and first.kind == "file" else ""
        patched = _PATCHED_FIRST.fullmatch(name)
        if patched is None and not _PLAIN_FIRST.fullmatch(name):
            raise IntegrityError(
                "no delta",
                expected=f"{MANIFEST} or .repack-delta-N.json as the first member",
                got=name[:200] or None,
            )
        data = tar.read_all(_MANIFEST_LIMIT)
        manifest = parse(data, path)
        sha256 = hashlib.sha256(data).hexdigest()
        delta = parse_delta(manifest, path)
        if (delta.form == "patched") != (patched is not None):
            raise IntegrityError(f"a {delta.form} delta begins otherwise", got=name[:200])
        folder = (patched["folder"] if patched else None) or ""
        yield DeltaFile(path, sha256, manifest, delta, tar, folder)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """The tar in ``stream``, decompressed: zstd, gzip, or as it is."""
    magic = stream.read(len(_ZSTD_MAGIC))
    stream.seek(0)
    if magic == _ZSTD_MAGIC:
        return _decompressed(stream)
    if magic.startswith(_GZIP_MAGIC):
        return _gunzipped(stream)
    return iter(lambda: stream.read(atomic.CHUNK), b"")


def _gunzipped(stream: IO[bytes]) -> Iterator[bytes]:
    """One gzip member (RFC 1952); zlib checks its length and checksum at its end."""
    decompressor = zlib.decompressobj(16 + zlib.MAX_WBITS)
    data = b""
    while not decompressor.eof:
        data = decompressor.unconsumed_tail or stream.read(_COMPRESSED)
        try:
            chunk = decompressor.decompress(data, atomic.CHUNK) if data else b""
        except zlib.error as fault:
            raise IntegrityError("the delta is damaged", got=fault) from fault
        if not data and not decompressor.eof:
            raise IntegrityError("the delta is cut off")
        if chunk:
            yield chunk
    if decompressor.unused_data or stream.read(1):
        raise IntegrityError("data is hidden behind the end of the delta")


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
