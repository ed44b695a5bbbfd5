"""Describe the package that a folder of models, strategies or other data becomes.

Nothing is packed here. A folder that did not change is not even read: its digests come from the
stamp file, and its build string from the record of the release before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.archive.package import Format, PackageFile
from repack.bundle.folder import digests, scan_folder
from repack.bundle.package import Bundled, bundle_package, follow
from repack.errors import FolderError, Problem
from repack.names import Digest
from repack.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repack.conda.record import Record
    from repack.label.label import BundleSpec
    from repack.names import LabelName


class Bundling(Struct, frozen=True):
    """How the bundles of a label are made.

    Attributes:
        archive: the format the label wants.
        stamps: folder for the stamp files, best in the store.
        previous: records of earlier releases.
    """

    archive: Format
    stamps: Path | None = None
    previous: Iterable[Record] = ()
    progress: Progress = SILENT


def build_bundle(label: LabelName, name: str, spec: BundleSpec, how: Bundling) -> Bundled:
    """Say which package the folder of ``spec`` is.

    Raises:
        FolderError: lists every file that a package cannot carry to every system.
        PlaceError: there is no such folder.
        LabelError: the bundle's name is taken.
        UsageError: name or version cannot be a conda package's.
    """
    folder = Path(spec.path)
    tree = scan_folder(folder)
    if tree.litter:
        how.progress.note(f"{name}: left out {', '.join(tree.litter)}")
    if not tree.files:
        raise FolderError([Problem(".", "holds no file")], where=folder)
    stamps = how.stamps / f"{label}-{name}.json" if how.stamps else None
    members = [
        PackageFile(row.file.path, row.file.size, Digest(row.digest), str(row.file.source))
        for row in digests(tree, "sha256", stamps, how.progress)
    ]
    return follow(bundle_package(label, name, spec, members), how.previous, how.archive)
