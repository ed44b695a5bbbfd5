"""A channel, or a folder of channels, as a target reads it. Nothing is written to a medium.

A medium holds ``LABEL/`` for each label, laid out like a channel, or is itself one channel. When
several releases share a medium, the files that are a release's own lie in ``repack/releases/N/``,
under the path that they have in the channel; all others are the channel's.

Every file is bounded, checked against the signed manifest or the integrity list that it pins, and
read only once: the bytes that were checked are the bytes that are used, even if somebody swaps
files on the stick meanwhile.
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
from repack.errors import (
    ContentMissingError,
    IntegrityError,
    MetadataNotFoundError,
    PlaceError,
    RepackError,
)
from repack.fs import atomic, beneath, digests
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
        self.folder = beneath.guard(folder)

    @classmethod
    def find(cls, source: Path, label: LabelName) -> Medium:
        """The channel of ``label`` in ``source``, or ``source`` itself.

        Raises:
            MetadataNotFoundError: there is no signed metadata in either.
        """
        beneath.guard(source)
        for folder in (source / label, source):
            with atomic.os_errors_at(folder):
                if beneath.is_folder(folder / METADATA_DIR):
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
        """The content of a release that the signed metadata names.

        Raises:
            ContentMissingError: its manifest or its list of files is not here, or not whole.
        """
        self._check_carried(signed)
        data = self._checked(
            [RelPath(f"repack/{signed.path}"), layout.MANIFEST_PATH],
            lambda data: hashlib.sha256(data).hexdigest() == signed.sha256,
            manifest.MAX_BYTES,
        )
        where = self.folder / f"repack/{signed.path}"
        with _as_missing():
            release = manifest.parse(data, where)
            if release.id != signed.label or release.release != signed.number:
                raise IntegrityError("the manifest is another release's", where=where)
            if (pin := release.integrity) is None:
                raise IntegrityError("the manifest pins no list of files", where=where)
        listed = self._checked(
            self._places(signed.number, pin.path),
            lambda data: hashlib.sha256(data).hexdigest() == pin.sha256,
            integrity.MAX_BYTES,
        )
        with _as_missing():
            return MediumRelease(self, release, integrity.parse(listed, self.folder / pin.path))

    def _check_carried(self, signed: SignedRelease) -> None:
        """Tell a medium that carries another release from one that is damaged.

        Raises:
            ContentMissingError: the channel is at another release.
        """
        own = self.folder / layout.MANIFEST_PATH
        aside = self._places(signed.number, layout.INTEGRITY_PATH)[0]
        with _as_missing():
            paths = [self.folder / path for path in (f"repack/{signed.path}", aside)]
            is_carried = all(beneath.is_file(path) for path in paths)
        if is_carried:
            return
        try:
            carried = manifest.parse(atomic.read(own, manifest.MAX_BYTES), own)
        except RepackError:
            return  # damaged, which is said when the release's own files are read
        if carried.release != signed.number:
            raise ContentMissingError(
                f"release {signed.number} is not on this medium, which carries release"
                f" {carried.release}",
                where=self.folder,
                hint=f"have it put there: repack medium {signed.label} DEST"
                f" --release {signed.number}",
            )

    def read(self, release: int, entry: FileEntry) -> bytes:
        """Read a file of a release.

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
        with _as_missing(), atomic.os_errors_at(self.folder):
            existing = [path for path in paths if beneath.is_file(self.folder / path)]
        for path in existing:
            with _as_missing():
                data = atomic.read(self.folder / path, limit)
            if is_right(data):
                return data
        what = "is not what was released" if existing else "is missing"
        raise ContentMissingError(f"a file {what}", where=self.folder / paths[-1], hint=_HINT)

    def _locate(self, package: FileEntry) -> Path:
        """Where a package is: in the channel, else in another one of the medium.

        FAT and exFAT have no hard links, so there a package that several labels share is carried
        once, in one of their channels. Its hash is checked when it is read.
        """
        own = self.folder / package.path
        with _as_missing(), atomic.os_errors_at(own):
            if beneath.is_file(own):
                return own
        medium = self.folder.parent
        with _as_missing(), atomic.os_errors_at(medium):
            names = [entry.name for entry in beneath.scan(medium) if entry.kind == "folder"]
        paths = [medium / name / package.path for name in names]
        for path in paths:
            with contextlib.suppress(OSError):
                if beneath.status(path).st_size == package.size:
                    return path
        return own

    def missing(self, plan: InstallPlan) -> list[str]:
        """Packages that are not here, or have another size; nothing is read."""
        faults = []
        for package in plan.packages:
            try:
                size = beneath.status(self._locate(package)).st_size
            except OSError:
                faults.append(f"{package.path} is missing")
                continue
            if size != package.size:
                faults.append(f"{package.path} has {size} bytes, not {package.size}")
        return faults

    def copy(self, package: FileEntry, target: Path, advance: Callable[[int], None]) -> None:
        """Copy a package to a new file, hashed on the way.

        The copy is not flushed: after a power cut an installation begins again from nothing.

        Raises:
            ContentMissingError: it is missing, truncated or swapped, or the medium went away.
            SpaceError: the target's disk is full.
        """
        source = self._locate(package)
        with _as_missing(), atomic.os_errors_at(source):
            stream = beneath.reading(source, 0)
        with stream, atomic.os_errors_at(target):
            beneath.make_folders(target.parent)
            with beneath.writing(target) as out:
                sha256 = _copy_stream(stream, out, package.size, source, advance)
        _check_digest(source, package, sha256)

    def check(self, package: FileEntry, advance: Callable[[int], None]) -> None:
        """Hash a package where it lies. Raises as :meth:`copy` does."""
        source = self._locate(package)
        with _as_missing():
            sha256, _ = digests.digest(source)
        advance(package.size)
        _check_digest(source, package, sha256)


class MediumRelease:
    """A release on a medium: its manifest is signed for, its integrity list pinned by that."""

    def __init__(
        self, medium: Medium, release: Manifest, entries: Mapping[RelPath, FileEntry]
    ) -> None:
        self.medium, self.manifest, self._entries = medium, release, entries

    def install_plan(self, platform: str) -> InstallPlan:
        """The packages for targets of ``platform``.

        Raises:
            ContentMissingError: the list is not here, or not whole.
        """
        with _as_missing():
            plan = self._json(_PLAN)
            return compose_install_plan(self.manifest, plan, platform, self.medium.folder / _PLAN)

    def records(self, plan: InstallPlan) -> dict[RelPath, Record]:
        """The records of its packages, by path; their URLs name no file.

        Raises:
            ContentMissingError: a repodata is not here or not whole, or lacks a package.
        """
        packages = {package.path: package for package in plan.packages}
        records: dict[RelPath, Record] = {}
        with _as_missing():
            for subdir in (NOARCH, plan.platform):
                path = RelPath(f"{subdir}/repodata.json")
                for fn, raw in read_rows(self._json(path), self.medium.folder / path).items():
                    package = packages.get(RelPath(f"{subdir}/{fn}"))
                    if package is not None and raw.get("sha256") == package.sha256:
                        records[package.path] = Record.of(raw, fn, "")
            if absent := sorted(packages.keys() - records.keys()):
                raise IntegrityError("the repodata lacks packages", got=", ".join(absent)[:500])
        return records

    def text(self, path: RelPath) -> bytes | None:
        """A metadata file of the release; None where it has none of that name.

        Raises:
            ContentMissingError: it has one, which is not here or not whole.
        """
        entry = self._entries.get(path)
        return None if entry is None else self.medium.read(self.manifest.release, entry)

    def _json(self, path: RelPath) -> dict[str, Any]:
        where = self.medium.folder / path
        if path not in self._entries:
            raise IntegrityError("the release has no such file", where=where)
        data = self.medium.read(self.manifest.release, self._entries[path])
        document = loads(data, where, _LIMIT)
        if not isinstance(document, dict):
            raise IntegrityError("no JSON object", where=where)
        return document


def _check_digest(source: Path, package: FileEntry, sha256: str) -> None:
    if sha256 != package.sha256:
        raise ContentMissingError(
            "a package is not what was released",
            where=source,
            expected=package.sha256,
            got=sha256,
            hint=_HINT,
        )


@contextlib.contextmanager
def _as_missing() -> Iterator[None]:
    """Turn what cannot be read from a medium into :class:`ContentMissingError`."""
    try:
        yield
    except (IntegrityError, PlaceError) as error:
        raise ContentMissingError(
            error.what, where=error.where, expected=error.expected, got=error.got, hint=_HINT
        ) from error


def _copy_stream(
    stream: IO[bytes], out: IO[bytes], size: int, source: Path, advance: Callable[[int], None]
) -> str:
    """Copy at most one byte more than ``size`` and return the SHA-256.

    The byte more makes the digest differ when the file is too long; a stick that claims a file of
    terabytes fills no disk. Only reading is the medium's fault: a failed write is the target's.
    """
    sha, left = hashlib.sha256(), size + 1
    while left > 0:
        with _as_missing(), atomic.os_errors_at(source):
            data = stream.read(min(left, atomic.CHUNK))
        if not data:
            break
        sha.update(data)
        out.write(data)
        left -= len(data)
        advance(len(data))
    return sha.hexdigest()
