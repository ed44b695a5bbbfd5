"""A delta: what turns a channel at one release into the same channel at another one.

The file is a tar, compressed with zstd. Its first member is a manifest of the usual form, signed
like the releases were; ``id`` is the label, ``version`` the release it leads to, ``artifacts`` are
the members that follow: metadata whole, packages whole (``full``) or as patches (``diff``, with
``base_id``). What a release manifest has no field for stands under ``delta``, signed with the rest.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from repack.codec.canonical import is_size
from repack.conda.record import ARCHIVES
from repack.conda.subdir import package_name
from repack.errors import IntegrityError
from repack.fs.litter import is_litter
from repack.names import Digest, RelPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.channel.manifest import Artifact, Manifest

MANIFEST: Final = "manifest.json"
# In a plain delta: a name that readers of a channel take for litter, for it stays in the channel.
PLAIN_MANIFEST: Final = ".repack-delta.json"
FIELD: Final = "delta"
PATCHES: Final = "patches"
FORMAT: Final = 1
MAX_TEXTS: Final = 512 << 20

Form = Literal["patched", "plain"]


class FilePin(Struct, frozen=True):
    """A release, and the SHA-256 of its ``repack/manifest.json``, which pins all the rest."""

    release: int
    manifest: Digest

    def to_json(self) -> dict[str, object]:
        """As it stands in the delta's manifest."""
        return {"release": self.release, "manifest": self.manifest}


class Patched(Struct, frozen=True):
    """A package that travels as a patch.

    Attributes:
        patch: the member that holds the patch.
        path: the package's place in the channel.
        base: the package of the base release that it is made from.
        unpacked: bytes of the base's payload, decompressed; 0 for a raw patch, which wants the base
            as it lies.
    """

    patch: RelPath
    path: RelPath
    base: RelPath
    base_sha256: Digest
    unpacked: int

    def to_json(self) -> dict[str, object]:
        """As it stands in the delta's manifest."""
        return {
            "patch": self.patch,
            "path": self.path,
            "base": self.base,
            "base_sha256": self.base_sha256,
            "unpacked": self.unpacked,
        }


class Delta(Struct, frozen=True):
    """What a delta's manifest says beside its list of members.

    Attributes:
        dropped: packages of the base that the other release no longer has.
        tools: versions of the libraries that the patches were tried out with.
    """

    base: FilePin
    target: FilePin
    form: Form
    patches: tuple[Patched, ...] = ()
    dropped: tuple[RelPath, ...] = ()
    tools: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, object]:
        """The field of the manifest."""
        return {
            "format": FORMAT,
            "form": self.form,
            "base": self.base.to_json(),
            "target": self.target.to_json(),
            "patches": [one.to_json() for one in self.patches],
            "dropped": list(self.dropped),
            "tools": dict(self.tools),
        }


def parse(manifest: Manifest, where: object) -> Delta:
    """Read what makes a manifest that of a delta, and check it against the list of members.

    Raises:
        IntegrityError: it is none, of a later format, malformed, or names what does not belong.
    """
    raw = manifest.extra.get(FIELD)
    if not isinstance(raw, dict):
        raise IntegrityError("no delta: its manifest says nothing of one", where=where)
    if raw.get("format") != FORMAT:
        raise IntegrityError(
            "a delta of another format", where=where, expected=FORMAT, got=repr(raw.get("format"))
        )
    try:
        found = Delta(
            base=_pin(raw["base"]),
            target=_pin(raw["target"]),
            form=_form(raw["form"]),
            patches=tuple(_patched(row) for row in raw["patches"]),
            dropped=tuple(RelPath(path) for path in raw["dropped"]),
            tools=tuple(sorted((str(k), str(v)) for k, v in raw["tools"].items())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise IntegrityError("the delta's manifest is malformed", where=where) from fault
    _check(found, manifest, where)
    return found


def _pin(row: Mapping[str, Any]) -> FilePin:
    if not is_size(row["release"]) or row["release"] < 1:
        raise ValueError
    return FilePin(row["release"], Digest(row["manifest"]))


def _form(word: object) -> Form:
    if word == "patched":
        return "patched"
    if word == "plain":
        return "plain"
    raise ValueError


def _patched(row: Mapping[str, Any]) -> Patched:
    if not is_size(row["unpacked"]):
        raise ValueError
    return Patched(
        patch=RelPath(row["patch"]),
        path=RelPath(row["path"]),
        base=RelPath(row["base"]),
        base_sha256=Digest(row["base_sha256"]),
        unpacked=row["unpacked"],
    )


def _check(delta: Delta, manifest: Manifest, where: object) -> None:
    if manifest.version != str(delta.target.release):
        raise IntegrityError(
            "the delta's manifest contradicts itself",
            where=where,
            expected=f"version {delta.target.release}",
            got=f"version {manifest.version}",
        )
    diffs = {a.path for a in manifest.artifacts if a.type == "diff"}
    if diffs != {one.patch for one in delta.patches} or len(diffs) != len(delta.patches):
        raise IntegrityError("patches and members of the delta do not fit", where=where)
    wanted = f"{manifest.id}@{delta.base.release}"
    for artifact in manifest.artifacts:
        if artifact.type == "diff" and artifact.base_id != wanted:
            raise IntegrityError(
                "a patch is for another base", where=where, expected=wanted, got=artifact.base_id
            )
        if any(is_litter(part) for part in artifact.path.split("/")):
            raise IntegrityError("a member has a name that channels ignore", got=artifact.path)
    for one in delta.patches:
        if not is_archive(one.path) or not is_archive(one.base):
            raise IntegrityError("a patch is for no package", where=where, got=one.path)
    if sum(a.size for a in manifest.artifacts if is_text(a)) > MAX_TEXTS:
        raise IntegrityError("the delta holds too much metadata", where=where)


def is_archive(path: str) -> bool:
    """Whether a path of a channel is a package's."""
    return path.endswith(ARCHIVES)


def is_text(artifact: Artifact) -> bool:
    """Whether a member is a metadata file of the channel."""
    return artifact.type == "full" and not is_archive(artifact.path)


def base_for(path: RelPath, candidates: Iterable[RelPath]) -> RelPath | None:
    """The package of the base release that is most like the one at ``path``, by its name.

    The same name in the same folder, then in another one; among builds the one that begins alike.
    """
    name, folder = package_name(path), path.split("/", 1)[0]
    same = [one for one in candidates if package_name(one) == name]
    return max(
        sorted(same),
        key=lambda one: (
            one.split("/", 1)[0] == folder,
            _alike(one.rpartition("/")[2], path.rpartition("/")[2]),
        ),
        default=None,
    )


def _alike(one: str, other: str) -> int:
    """How many letters two names have in common at the beginning."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
