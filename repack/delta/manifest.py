"""A delta: what turns a channel at one release into the same channel at another one.

The file is a tar, compressed with zstd, in one folder ``LABEL-OLD-NEW.delta/``, so that unpacking it
over a channel touches nothing of the channel. Its first member is a manifest of the usual form, signed
as the releases are; ``id`` is the label, ``version`` the release it leads to, ``artifacts`` are the
members that follow: metadata files and packages (``full``), and patches (``diff``, with
``base_id``). The field ``delta`` holds what a release's manifest has no field for; it is signed with
the rest.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from repack.channel.layout import is_packed_environment
from repack.codec.canonical import MAX_SIZE
from repack.codec.decode import Document, decode, encode
from repack.conda.record import ARCHIVE_SUFFIXES
from repack.conda.subdir import package_name
from repack.errors import IntegrityError
from repack.fs.litter import is_litter
from repack.names import Digest, RelPath

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repack.channel.manifest import Artifact, Manifest

MANIFEST: Final = "manifest.json"
FIELD: Final = "delta"
PATCHES: Final = "patches"
FORMAT: Final = 1
MAX_TEXTS: Final = 512 << 20

Form = Literal["patched", "plain"]


class ReleasePin(Document, frozen=True):
    """A release, and the SHA-256 of its ``repack/manifest.json``, which pins all its files."""

    release: Annotated[int, Meta(ge=1)]
    manifest: Digest


class Patched(Document, frozen=True):
    """A package that travels as a patch.

    Attributes:
        patch: the member that holds the patch.
        path: the package's place in the channel.
        base: the package of the base release that it is rebuilt from.
        unpacked: bytes of the base's payload, decompressed; 0 for a raw patch, which copies from
            the base package as it lies.
    """

    patch: RelPath
    path: RelPath
    base: RelPath
    base_sha256: Digest
    unpacked: Annotated[int, Meta(ge=0, le=MAX_SIZE)]


class Delta(Document, frozen=True):
    """The field ``delta`` of a delta's manifest.

    Attributes:
        dropped: files of the bases that the other release no longer has.
        tools: versions of the libraries that the patches were tried out with.
        more_bases: other releases that a plain delta may be unpacked over.
    """

    base: ReleasePin
    target: ReleasePin
    form: Form
    patches: tuple[Patched, ...]
    dropped: tuple[RelPath, ...]
    tools: dict[str, str]
    format: Literal[1] = FORMAT
    more_bases: tuple[ReleasePin, ...] = ()

    @property
    def bases(self) -> tuple[ReleasePin, ...]:
        """Every release that it leads from."""
        return (self.base, *self.more_bases)

    def encode(self) -> dict[str, object]:
        """The field as it stands in the manifest."""
        fields: dict[str, object] = encode(self)
        if not self.more_bases:
            del fields["more_bases"]
        return fields


def parse_delta(manifest: Manifest, where: object) -> Delta:
    """Read what makes a manifest that of a delta, and check it against the list of members.

    Raises:
        IntegrityError: it is none, of a later format, malformed, or names what does not belong.
    """
    field = manifest.extra.get(FIELD)
    if not isinstance(field, dict):
        raise IntegrityError("no delta: its manifest says nothing of one", where=where)
    if field.get("format") != FORMAT:
        raise IntegrityError(
            "a delta of another format", where=where, expected=FORMAT, got=repr(field.get("format"))
        )
    delta = decode(Delta, field, where, "delta's manifest")
    if manifest.version != str(delta.target.release):
        raise IntegrityError(
            "the delta's manifest contradicts itself",
            where=where,
            expected=f"version {delta.target.release}",
            got=f"version {manifest.version}",
        )
    _check_members(delta, manifest, where)
    return delta


def _check_members(delta: Delta, manifest: Manifest, where: object) -> None:
    diffs = {artifact.path for artifact in manifest.artifacts if artifact.type == "diff"}
    if diffs != {row.patch for row in delta.patches} or len(diffs) != len(delta.patches):
        raise IntegrityError("patches and members of the delta do not fit", where=where)
    base_id = f"{manifest.id}@{delta.base.release}"
    for artifact in manifest.artifacts:
        if artifact.type == "diff" and artifact.base_id != base_id:
            raise IntegrityError(
                "a patch is for another base", where=where, expected=base_id, got=artifact.base_id
            )
        if any(is_litter(part) for part in artifact.path.split("/")):
            raise IntegrityError("a member has a name that channels ignore", got=artifact.path)
    for row in delta.patches:
        if not is_archive(row.path) or not is_archive(row.base):
            raise IntegrityError("a patch is for no package", where=where, got=row.path)
    if sum(artifact.size for artifact in manifest.artifacts if is_text(artifact)) > MAX_TEXTS:
        raise IntegrityError("the delta holds too much metadata", where=where)


def folder_name(label: str, delta: Delta) -> str:
    """The folder inside a patched delta that holds its members."""
    return f"{label}-{delta.base.release}-{delta.target.release}.delta"


def is_archive(path: str) -> bool:
    """Whether a path of a channel is a package's, or a packed environment's."""
    return path.endswith(ARCHIVE_SUFFIXES) or is_packed_environment(path)


def is_text(artifact: Artifact) -> bool:
    """Whether a member is a metadata file of the channel."""
    return artifact.type == "full" and not is_archive(artifact.path)


def find_base(path: RelPath, candidates: Iterable[RelPath]) -> RelPath | None:
    """The package of the base release that is most like the one at ``path``, by its name.

    The same name in the same folder, then in another one; among builds the one that begins alike.
    """
    name, folder, fn = package_name(path), path.split("/", 1)[0], path.rpartition("/")[2]

    def likeness(candidate: RelPath) -> tuple[bool, int]:
        pairs = zip(candidate.rpartition("/")[2], fn, strict=False)
        same_start = itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)
        return candidate.split("/", 1)[0] == folder, sum(1 for _ in same_start)

    same_name = sorted(candidate for candidate in candidates if package_name(candidate) == name)
    return max(same_name, key=likeness, default=None)
