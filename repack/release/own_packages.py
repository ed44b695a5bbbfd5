"""The label's own packages and what signs them: bundles, manifest package, metapackages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from repack.archive.package import with_content_build
from repack.errors import FolderError, LabelError, Problem
from repack.label.agent import NEEDS, agent_package, own_sources
from repack.label.label import package_names
from repack.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from repack.archive.package import PackageSpec
    from repack.bundle.package import Bundled
    from repack.conda.record import Record
    from repack.label.label import Label
    from repack.release.context import BuildContext
    from repack.solve.solution import Solution


def pack_bundles(context: BuildContext) -> tuple[Record, ...]:
    """Bundles, and the agent if the label wants one, as packages in the store.

    What did not change is not packed.

    Raises:
        FolderError: a folder holds what a package cannot carry.
        SpaceError: the disk is full.
    """
    stamps = context.store.root / "stamps"
    return tuple(_packed(bundle, context) for bundle in _bundled(context, stamps))


def look_at_bundles(context: BuildContext) -> list[Bundled]:
    """What would be packed; nothing is. Raises as :func:`pack_bundles` does."""
    return _bundled(context, None)


def _bundled(context: BuildContext, stamps: Path | None) -> list[Bundled]:
    label = context.label
    if not label.bundles and not label.agent:
        return []
    previous = context.channels.own_records(label.name)
    # Most labels have neither, and an unchanged rebuild is spared these imports.
    from repack.bundle.build import Bundling, build_bundle
    from repack.bundle.package import follow

    how = Bundling(context.archive_format, stamps, previous, context.progress)
    bundles, problems = [], []
    for name, spec in sorted(label.bundles.items()):
        try:
            bundles.append(build_bundle(label.name, name, spec, how))
        except FolderError as error:
            problems += [p._replace(where=f"{spec.path}/{p.where}") for p in error.problems]
    if problems:
        raise FolderError(problems, where=f"label {label.name}")
    if label.agent:
        agent = agent_package(__version__, own_sources())
        bundles.append(follow(agent, how.previous, how.archive))
    return bundles


def _packed(bundle: Bundled, context: BuildContext) -> Record:
    if bundle.unchanged is not None and context.store.contains_record(bundle.unchanged):
        return bundle.unchanged
    record = pack_package(bundle.spec, context)
    if bundle.unchanged is not None and bundle.unchanged.sha256 != record.sha256:
        # The old archive is gone and cannot be made again byte for byte: a name keeps its content.
        record = pack_package(
            with_content_build(bundle.spec, bundle.unchanged.build_number + 1), context
        )
    return record


def pack_package(spec: PackageSpec, context: BuildContext) -> Record:
    """Pack ``spec`` into the store and return its record.

    Raises:
        SpaceError: the disk is full.
    """
    from repack.archive.writer import pack

    folder = context.store.scratch(f"{context.key}.pack")
    packed = pack(spec, folder, context.archive_format, progress=context.progress)
    context.store.add(packed.path, packed.record.sha256, "move")
    return packed.record


def check_names(solution: Solution, label: Label) -> None:
    """Make sure that no package is called like one of repack's, and that the agent can run.

    The metapackage may have a namesake: then none is made.

    Raises:
        LabelError: one is, or a given lock or environment lacks what the agent needs.
    """
    taken = package_names(label) - {label.name}
    upstream = {record.name for record in solution.unique_records}
    twins = sorted(upstream & taken)
    needs = {spec.split(" ", 1)[0] for spec in NEEDS} if label.agent else set()
    if missing := sorted(needs - upstream):
        what = f"`agent: true` needs {', '.join(missing)}, which the given packages lack"
        raise LabelError([Problem(f"label {label.name}", what)])
    if twins:
        hint = "give the label or the bundle another name"
        where = f"label {label.name}"
        raise LabelError(
            [Problem(where, f"{name} is a package of upstream", hint) for name in twins]
        )
