"""What repack's own packages are made of: bundles, the manifest package, the metapackage.

All three hang on exact builds, so a build string names its content: other files under the same
version get another build, the same files keep theirs.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.archive.package import (
    DEFAULT_LEVEL,
    UNKNOWN_LICENCE,
    Format,
    PackageFile,
    PackageSpec,
    with_content_build,
)
from repack.display import printable
from repack.errors import LabelError, Problem
from repack.names import RelPath, windows_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.conda.record import Record
    from repack.label.label import BundleSpec
    from repack.names import LabelName

MAX_PATH: Final = 200
# The manifest package, and what it carries beside the bundles' folders.
_OWN: Final = frozenset({"manifest", "manifest.json", "lock.yml", "profile.json"})


class Bundled(Struct, frozen=True):
    """A bundle, ready to be packed or already there.

    Attributes:
        spec: what to pack.
        unchanged: the record of the same content in an earlier release. When the store still has
            that archive, there is nothing to pack. When it has not and packing gives other bytes
            (another version of zstd), :func:`repack.archive.package.numbered` with the next number:
            a name is published with one content for ever.
    """

    spec: PackageSpec
    unchanged: Record | None


def share(label: LabelName, *parts: str) -> RelPath:
    """Where repack's own files go in an environment."""
    return RelPath("/".join(("share", "repack", label, *parts)))


def bundle_package(
    label: LabelName, name: str, bundle: BundleSpec, members: Iterable[PackageFile]
) -> PackageSpec:
    """The package of a bundle, ``LABEL-NAME``, without its build.

    Args:
        members: the files, with paths inside the bundle's folder.

    Raises:
        LabelError: the name is taken by what repack itself carries, or is none on Windows.
        UsageError: name, version or level cannot be a conda package's.
    """
    fault = "is what repack calls a file of its own" if name in _OWN else windows_fault(name)
    if fault:
        raise LabelError([Problem(f"bundles.{name}", f"{name!r} {fault}", "take another name")])
    return PackageSpec(
        name=f"{label}-{name}",
        version=bundle.version,
        members=tuple(replace(one, path=share(label, name, one.path)) for one in members),
        license=bundle.license or UNKNOWN_LICENCE,
        summary=f"{name} of {label}",
        level=bundle.compression_level or DEFAULT_LEVEL,
    )


def follow(spec: PackageSpec, previous: Iterable[Record], archive: Format) -> Bundled:
    """Give ``spec`` its build: that of the newest earlier release if nothing changed, or one more.

    Args:
        spec: the package without its build.
        previous: records of earlier releases; those of other packages are ignored.
        archive: the format to be made; a record of the other format is no substitute.
    """
    mine = [r for r in previous if r.name == spec.name and r.version == spec.version]
    newest = max(mine, key=lambda record: record.build_number, default=None)
    if newest is None:
        return Bundled(with_content_build(spec), None)
    same = with_content_build(spec, newest.build_number)
    if same.build != newest.build:
        return Bundled(with_content_build(spec, newest.build_number + 1), None)
    return Bundled(same, newest if newest.fn.endswith(archive) else None)


def manifest_package(label: LabelName, release: int, files: Mapping[str, bytes]) -> PackageSpec:
    """The package ``LABEL-manifest``: the signed manifest, the lock and the profile of a release.

    Raises:
        IntegrityError: a file's path leads out of the package.
    """
    members = tuple(PackageFile.of(share(label, path), data) for path, data in files.items())
    spec = PackageSpec(
        name=f"{label}-manifest",
        version=str(release),
        members=members,
        summary=f"Manifest of release {release} of {label}",
    )
    return with_content_build(spec)


def metapackage(
    label: LabelName, release: int, subdir: str, roots: Iterable[Record]
) -> PackageSpec:
    """The package ``LABEL`` of one subdir: depends on the exact builds of ``roots``, owns no file.

    Args:
        roots: the packages the label names, its bundles and its manifest package.
    """
    depends = sorted({f"{root.name} {root.version} {root.build}" for root in roots})
    spec = PackageSpec(
        name=label,
        version=str(release),
        subdir=subdir,
        noarch=None,
        depends=tuple(depends),
        summary=f"Release {release} of {label}",
    )
    return with_content_build(spec)


def path_problems(paths: Iterable[str]) -> list[Problem]:
    """Say of every path why it cannot be carried to every system, if so.

    Paths are relative and ``/``-separated; of case twins the second is named.
    """
    problems: list[Problem] = []
    spellings: dict[str, str] = {}
    for path in sorted(paths):
        fault = _fault(path) or _twin(path, spellings)
        if fault:
            problems.append(Problem(printable(path), fault))
    return problems


def _fault(path: str) -> str | None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    if len(path) > MAX_PATH:
        return f"the path has {len(path)} characters; Windows leaves room for {MAX_PATH}"
    reasons = (windows_fault(part) for part in path.split("/"))
    return next((reason for reason in reasons if reason), None)


def _twin(path: str, spellings: dict[str, str]) -> str | None:
    """Check the path and each folder above it against all spellings seen so far."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        here = "/".join(parts[:count])
        # macOS also takes composed and decomposed letters for the same.
        folded = unicodedata.normalize("NFC", here).casefold()
        twin = spellings.setdefault(folded, here)
        if twin != here:
            return f"differs from {printable(twin)!r} only by case"
    return None
