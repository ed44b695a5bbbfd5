"""A channel, or a folder of channels, as a target reads it; nothing is ever written here.

A medium holds ``LABEL/`` for each label, laid out like a channel, or is itself one channel. What
a release has of its own when several share a medium lies in ``repack/releases/N/``, under the path
that it has in the channel; what is not there is the channel's.

Every file is bounded, checked against the signed manifest or the list that it pins, and read only
once: what was checked is what is used, whatever becomes of the stick.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import IO, TYPE_CHECKING, Any, Final

from repack.channel import integrity, layout, manifest
from repack.channel.install_plan import compose_install_plan
from repack.channel.layout import METADATA_DIR
from repack.codec.canonical import loads
from repack.conda.record import Record
from repack.conda.repodata import read_rows
from repack.conda.subdir import NOARCH
from repack.errors import ContentMissingError, IntegrityError, MetadataNotFoundError, PlaceError
from repack.fs import atomic, digests
from repack.names import RelPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from repack.channel.install_plan import InstallPlan
    from repack.channel.manifest import Manifest
    from repack.file_entry import FileEntry
    from repack.names import LabelName
    from repack.trust.selection import SignedRelease

_PLAN: Final = RelPath("repack/install.json")
_LIMIT: Final = 1 << 30
_HINT: Final = "the medium is incomplete or damaged; copy it again"


class Medium:
    """One label's channel on a medium.

    Args:
        folder: the channel.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def find(cls, source: Path, label: LabelName) -> Medium:
        """The channel of ``label`` in ``source``, or ``source`` itself.

        Raises:
            MetadataNotFoundError: there is no signed metadata in either.
        """
        for folder in (source / label, source):
            if (folder / METADATA_DIR).is_dir():
                return cls(folder)
        raise MetadataNotFoundError(
            f"there is no signed metadata for {label} here",
            where=source,
            hint=f"--src-dir is a channel, or a folder that holds {label}/",
        )

    @property
    def metadata(self) -> Path:
        """The folder of signed metadata."""
        return self.folder / METADATA_DIR

    def release(self, signed: SignedRelease) -> MediumRelease:
        """The content of a release that is believed.

        Raises:
            ContentMissingError: its manifest or its list of files is not here, or not whole.
        """
        data = self._checked(
            [RelPath(f"repack/{signed.path}"), layout.MANIFEST_PATH],
            lambda data: hashlib.sha256(data).hexdigest() == signed.sha256,
            manifest.MAX_BYTES,
        )
        where = self.folder / f"repack/{signed.path}"
        with _damage():
            found = manifest.parse(data, where)
            if found.id != signed.label or found.release != signed.number:
                raise IntegrityError("the manifest is another release's", where=where)
            if (pin := found.integrity) is None:
                raise IntegrityError("the manifest pins no list of files", where=where)
        listed = self._checked(
            self._places(signed.number, pin.path),
            lambda data: hashlib.sha256(data).hexdigest() == pin.sha256,
            integrity.MAX_BYTES,
        )
        with _damage():
            return MediumRelease(self, found, integrity.parse(listed, self.folder / pin.path))

    def text(self, release: int, entry: FileEntry) -> bytes:
        """A file of a release.

        Raises:
            ContentMissingError: it is not here, or not whole.
        """
        return self._checked(
            self._places(release, entry.path),
            lambda data: hashlib.sha256(data).hexdigest() == entry.sha256,
            _LIMIT,
        )

    def _places(self, release: int, path: RelPath) -> list[RelPath]:
        return [RelPath(f"repack/releases/{release}/{path}"), path]

    def _checked(
        self, paths: list[RelPath], is_right: Callable[[bytes], bool], limit: int
    ) -> bytes:
        """The content of the first of ``paths`` that is there and right."""
        there = [path for path in paths if (self.folder / path).is_file()]
        for path in there:
            with _damage():
                data = atomic.read(self.folder / path, limit)
            if is_right(data):
                return data
        what = "is not what was released" if there else "is missing"
        raise ContentMissingError(f"a file {what}", where=self.folder / paths[-1], hint=_HINT)

    def _place(self, parcel: FileEntry) -> Path:
        """Where a package is: in the channel, else in another one of the medium.

        A medium without links holds a package that several labels share once. Whoever reads it
        checks its hash, as everywhere.
        """
        own = self.folder / parcel.path
        if own.is_file():
            return own
        with _damage(), atomic.os_errors_at(self.folder.parent):
            places = [folder / parcel.path for folder in sorted(self.folder.parent.iterdir())]
        for place in places:
            with contextlib.suppress(OSError):
                if place.stat().st_size == parcel.size:
                    return place
        return own

    def missing(self, delivery: InstallPlan) -> list[str]:
        """Packages that are not here, or have another size; nothing is read."""
        found = []
        for parcel in delivery.parcels:
            try:
                size = self._place(parcel).stat().st_size
            except OSError:
                found.append(f"{parcel.path} is missing")
                continue
            if size != parcel.size:
                found.append(f"{parcel.path} has {size} bytes, not {parcel.size}")
        return found

    def copy(self, parcel: FileEntry, target: Path, advance: Callable[[int], None]) -> None:
        """Copy a package to a place nobody reads yet, hashed on the way.

        Not flushed: what a power cut leaves half done is removed, not carried on with.

        Raises:
            ContentMissingError: it is missing, truncated or swapped, or the medium went away.
            SpaceError: the target's disk is full.
        """
        source = self._place(parcel)
        with _damage(), atomic.os_errors_at(source):
            stream = source.open("rb", buffering=0)
        with stream, atomic.os_errors_at(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                got = _pour(stream, out, parcel.size, source, advance)
        if got != parcel.sha256:
            raise ContentMissingError(
                "a package is not what was released",
                where=source,
                expected=parcel.sha256,
                got=got,
                hint=_HINT,
            )

    def check(self, parcel: FileEntry, advance: Callable[[int], None]) -> None:
        """Hash a package where it lies. Raises as :meth:`copy` does."""
        source = self._place(parcel)
        with _damage():
            got, _ = digests.digest(source)
        advance(parcel.size)
        if got != parcel.sha256:
            raise ContentMissingError(
                "a package is not what was released",
                where=source,
                expected=parcel.sha256,
                got=got,
                hint=_HINT,
            )


class MediumRelease:
    """A release on a medium: its manifest is believed, its files are listed."""

    def __init__(
        self, medium: Medium, found: Manifest, entries: Mapping[RelPath, FileEntry]
    ) -> None:
        self.medium, self.manifest, self._entries = medium, found, entries

    def delivery(self, platform: str) -> InstallPlan:
        """What it brings to targets of ``platform``.

        Raises:
            ContentMissingError: the list is not here, or not whole.
        """
        with _damage():
            plan = self._json(_PLAN)
            return compose_install_plan(self.manifest, plan, platform, self.medium.folder / _PLAN)

    def records(self, delivery: InstallPlan) -> dict[RelPath, Record]:
        """The records of its packages, by path; their URLs name no file.

        Raises:
            ContentMissingError: a repodata is not here or not whole, or lacks a package.
        """
        wanted = {parcel.path: parcel for parcel in delivery.parcels}
        found: dict[RelPath, Record] = {}
        with _damage():
            for subdir in (NOARCH, delivery.platform):
                path = RelPath(f"{subdir}/repodata.json")
                for fn, raw in read_rows(self._json(path), self.medium.folder / path).items():
                    parcel = wanted.get(RelPath(f"{subdir}/{fn}"))
                    if parcel is not None and raw.get("sha256") == parcel.sha256:
                        found[parcel.path] = Record.of(raw, fn, "")
            if absent := sorted(set(wanted) - set(found)):
                raise IntegrityError("the repodata lacks packages", got=", ".join(absent)[:500])
        return found

    def _json(self, path: RelPath) -> dict[str, Any]:
        where = self.medium.folder / path
        if path not in self._entries:
            raise IntegrityError("the release has no such file", where=where)
        data = self.medium.text(self.manifest.release, self._entries[path])
        document = loads(data, where, _LIMIT)
        if not isinstance(document, dict):
            raise IntegrityError("no JSON object", where=where)
        return document


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Whatever cannot be read from a medium is content that is missing."""
    try:
        yield
    except (IntegrityError, PlaceError) as error:
        raise ContentMissingError(
            error.what, where=error.where, expected=error.expected, got=error.got, hint=_HINT
        ) from error


def _pour(
    stream: IO[bytes], out: IO[bytes], size: int, source: Path, advance: Callable[[int], None]
) -> str:
    """Copy at most one byte more than ``size`` and return the SHA-256."""
    sha, left = hashlib.sha256(), size + 1
    while left > 0:
        with _damage(), atomic.os_errors_at(source):
            data = stream.read(min(left, atomic.CHUNK))
        if not data:
            break
        sha.update(data)
        out.write(data)
        left -= len(data)
        advance(len(data))
    return sha.hexdigest()
