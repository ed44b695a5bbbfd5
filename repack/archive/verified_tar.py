"""Checks the files of a tar against a list of digests while they are read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Literal, get_args

from msgspec import Struct

from repack.archive.tar_reader import BLOCK, TarReader
from repack.archive.tar_writer import Sink, hasher_for
from repack.display import some
from repack.errors import IntegrityError
from repack.fs.atomic import CHUNK
from repack.names import Digest, Digest384, RelPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.archive.tar_reader import TarMember

# Bytes one member may take beside its data: header, pax header, padding, and a folder or two.
TAR_OVERHEAD: Final = 16 * BLOCK
_RECORD: Final = 20 * BLOCK

Section = Literal["models", "strategies"]
SECTIONS: Final[tuple[Section, ...]] = get_args(Section)


class ReleaseFile(Struct, frozen=True):
    """One file of a release.

    Attributes:
        path: begins with its section, as in ``models/a.bin``.
        digest: SHA-384, or SHA-256 when it comes from a conda package.
    """

    path: RelPath
    size: int
    digest: Digest | Digest384

    @property
    def section(self) -> Section:
        """``models`` or ``strategies``."""
        return "models" if self.path.startswith("models/") else "strategies"

    @property
    def inside(self) -> str:
        """The path inside its section's folder."""
        return self.path.partition("/")[2]

    def to_json(self) -> dict[str, object]:
        """As it stands in the manifest."""
        algorithm = "sha384" if isinstance(self.digest, Digest384) else "sha256"
        return {"path": self.path, algorithm: self.digest, "size": self.size}


Take = Callable[[ReleaseFile], AbstractContextManager[Sink]]


class _NullSink:
    def write(self, data: bytes, /) -> None:
        """Drop ``data``."""


def discard(artifact: ReleaseFile) -> AbstractContextManager[Sink]:
    """Open a sink that drops the bytes of ``artifact``, to check it and keep nothing."""
    del artifact
    return contextlib.nullcontext(_NullSink())


class VerifiedFiles:
    """The listed files that have not been read yet, each by its name in the archive.

    Args:
        artifacts: the list.
        take: opens the sink for the bytes of a file.
        prefix: what precedes an artifact's path in the archive.
    """

    def __init__(self, artifacts: tuple[ReleaseFile, ...], take: Take, prefix: str = "") -> None:
        self._unread = {f"{prefix}{artifact.path}": artifact for artifact in artifacts}
        self._names = frozenset(self._unread)
        self._take = take

    def take(self, name: str, member: TarMember, tar: TarReader) -> None:
        """Write the data of a file to its sink, and check it.

        Raises:
            IntegrityError: it is not listed, was read before, or is not what the list says.
        """
        artifact = self._unread.pop(name, None)
        if artifact is None:
            fault = "twice" if name in self._names else "that its manifest does not list"
            raise IntegrityError(f"the archive holds a file {fault}", got=name[:200])
        if member.size != artifact.size:
            raise IntegrityError(
                f"{name} has the wrong size", expected=artifact.size, got=member.size
            )
        hasher = hasher_for(artifact.digest)
        with self._take(artifact) as sink:
            while data := tar.read(CHUNK):
                hasher.update(data)
                sink.write(data)
        if hasher.hexdigest() != artifact.digest:
            raise IntegrityError(
                f"{name} has the wrong {hasher.name}",
                expected=artifact.digest,
                got=hasher.hexdigest(),
            )

    def end(self) -> None:
        """Check that all listed files have been read.

        Raises:
            IntegrityError: names those that have not.
        """
        if self._unread:
            raise IntegrityError(
                "files that the manifest lists are missing", got=some(sorted(self._unread))
            )


def max_tar_size(artifacts: tuple[ReleaseFile, ...]) -> int:
    """An upper bound of the bytes that a tar archive of these files has."""
    return _RECORD + 64 * TAR_OVERHEAD + sum(a.size + TAR_OVERHEAD for a in artifacts)


@contextlib.contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Add the archive's ``path`` to integrity errors that name a member of it, or nothing."""
    try:
        yield
    except IntegrityError as error:
        if error.where is None:
            error.where = str(path)
        elif "/" not in error.where:
            error.where = f"{path}: {error.where}"
        raise
