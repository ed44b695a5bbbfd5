"""A tar whose files are checked against a list of digests while they are read."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Literal, Protocol, get_args

from msgspec import Struct

from repack.archive.tar_reader import BLOCK, TarReader
from repack.display import some
from repack.errors import IntegrityError
from repack.fs.atomic import CHUNK
from repack.names import Digest, Digest384, RelPath

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.archive.tar_reader import TarMember
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.archive.tar_reader import TarMember

# What one member may cost beside its data: header, pax header, padding, and a folder or two.
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


class Sink(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take ``data``."""


class Nowhere:
    """Takes bytes and forgets them: for checking alone."""

    def write(self, data: bytes, /) -> None:
        """Drop ``data``."""


def discard(artifact: ReleaseFile) -> AbstractContextManager[Sink]:
    """Take a file for checking alone."""
    del artifact
    return contextlib.nullcontext(NOWHERE)


class VerifiedFiles:
    """The files that are still to come, each by its name in the archive.

    Args:
        prefix: what stands before an artifact's path in the archive.
    """

    def __init__(self, artifacts: tuple[ReleaseFile, ...], take: Take, prefix: str = "") -> None:
        self._due = {f"{prefix}{artifact.path}": artifact for artifact in artifacts}
        self._names = frozenset(self._due)
        self._take = take

    def take(self, name: str, member: TarMember, tar: TarReader) -> None:
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
        """Make sure that all have come.

        Raises:
            IntegrityError: names those that have not.
        """
        if self._due:
            raise IntegrityError(
                "files that the manifest lists are missing", got=some(sorted(self._due))
            )


def max_tar_size(artifacts: tuple[ReleaseFile, ...]) -> int:
    """The bytes a tar archive of these files may have, generously."""
    return _RECORD + 64 * TAR_OVERHEAD + sum(a.size + TAR_OVERHEAD for a in artifacts)


@contextlib.contextmanager
def errors_naming(path: Path) -> Iterator[None]:
    """Say in integrity errors which archive it was."""
    try:
        yield
    except IntegrityError as fault:
        if fault.where is None:
            fault.where = str(path)
        elif "/" not in fault.where:
            fault.where = f"{path}: {fault.where}"
        raise


NOWHERE: Final = Nowhere()
Take = Callable[[ReleaseFile], AbstractContextManager[Sink]]
