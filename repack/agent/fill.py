"""Fill: make the environment of a release beside the one in use, or leave nothing behind.

py-rattler links the packages, or the conda of the machine where py-rattler does not run. In either
case the archives are checked before, and the environment is compared with the release afterwards.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack import host
from repack.agent import environment
from repack.archive.facts import check_archive
from repack.archive.facts_file import read_facts, write_facts
from repack.archive.installed_paths import check_environment
from repack.archive.reader import scan_archive
from repack.errors import ContentMissingError, IntegrityError, PlaceError, TargetSpaceError
from repack.fs import volume
from repack.prefix import link, link_by_conda
from repack.urls import folder_url, package_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.agent.context import AgentContext
    from repack.agent.medium import Medium, MediumRelease
    from repack.agent.state import State
    from repack.archive.facts import Facts
    from repack.archive.installed_paths import CheckedEnvironment
    from repack.channel.install_plan import InstallPlan
    from repack.conda.record import Record
    from repack.file_entry import FileEntry
    from repack.names import RelPath

# An unpacked environment takes about four times the archives, which are copied to the disk first.
_UNPACKED: Final = 5
_SHOWN: Final = 20


class _Filling(Struct, frozen=True):
    """What is filled, from where, and whether conda links it."""

    context: AgentContext
    medium: Medium
    plan: InstallPlan
    records: Mapping[RelPath, Record]
    by_conda: bool


def fill(context: AgentContext, state: State, release: MediumRelease, plan: InstallPlan) -> None:
    """Fill the environment of a release, compare it, and flush it to the disk.

    Args:
        state: the journal, which is as it was if this fails.

    Raises:
        ContentMissingError: a package is missing, damaged or does not install.
        TargetSpaceError: the release does not fit.
        SpaceError: the disk became full.
        PlaceError: the target's disk cannot be written.
    """
    storage, number = context.storage, plan.release
    if missing := release.medium.missing(plan):
        raise ContentMissingError(
            f"{len(missing)} of {len(plan.packages)} packages are not on the medium, or not whole",
            where=release.medium.folder,
            got="; ".join(missing[:_SHOWN]),
            hint="the medium is incomplete or damaged; copy it again",
        )
    filling = _Filling(
        context, release.medium, plan, release.records(plan), _links_by_conda(context)
    )
    # conda trusts what lies in its package cache without a check, so it gets an empty cache.
    cached = frozenset(() if filling.by_conda else storage.reusable(plan))
    new = tuple(package for package in plan.packages if package not in cached)
    _check_space(context, new)
    # The journal says "filling" before the first byte is written: a run that finds that phase
    # removes the folder of the release, however much of it is there.
    filling_state = state.fill(number, context.action_after(plan, state.current), host.boot_id())
    storage.save(filling_state)
    try:
        storage.discard(number)
        changed = _lay_out(filling, new, cached)
        while changed:
            storage.discard(number)
            cached = cached.difference(changed)
            changed = _lay_out(filling, changed, cached)
        _check_and_flush(filling)
        storage.save_plan(plan)
        storage.save(filling_state.filled())
    except BaseException as error:
        # The folder goes first and the journal last, so that a kill in between is repaired.
        storage.discard(number)
        storage.clean()
        storage.save(state)
        if isinstance(error, IntegrityError):
            raise ContentMissingError(
                "the packages do not install", where=release.medium.folder, got=error.text()
            ) from error
        raise
    storage.clean()


def _links_by_conda(context: AgentContext) -> bool:
    engine = context.settings.engine
    if engine == "conda":
        return True
    if link.load():
        return False
    if engine == "rattler":
        raise PlaceError(
            "py-rattler does not run here", hint='let conda do it: [install] engine = "conda"'
        )
    context.progress.note("py-rattler does not run here; conda fills the environment")
    return True


def _lay_out(
    filling: _Filling, new: Sequence[FileEntry], cached: frozenset[FileEntry]
) -> tuple[FileEntry, ...]:
    """Take ``new`` from the medium and link all.

    Returns:
        Cached packages that somebody changed, and that have to come from the medium after all.
    """
    storage = filling.context.storage
    storage.forget(new)
    _copy(filling, new)
    packages = _check_archives(filling)
    # Tens of thousands of cached files are looked at while rattler links them, which leaves one
    # core free. What was linked from a changed package is thrown away by the caller.
    with ThreadPoolExecutor(1) as pool:
        changed = pool.submit(storage.changed, cached)
        _link(filling, packages)
        return changed.result()


def _check_space(context: AgentContext, new: Sequence[FileEntry]) -> None:
    folder = context.storage.folder
    need, free = sum(p.size for p in new) * _UNPACKED, volume.free_bytes(folder)
    if need > free:
        raise TargetSpaceError(
            "the release does not fit on this disk",
            where=folder,
            expected=f"about {need} bytes",
            got=f"{free} bytes free",
            hint="free some space, or keep fewer releases: [storage] keep",
        )


def _copy(filling: _Filling, new: Sequence[FileEntry]) -> None:
    """Copy packages; after this they are not read from the medium any more."""
    context = filling.context
    with context.progress.phase("copy", sum(p.size for p in new), "bytes") as advance:
        for package in new:
            filling.medium.copy(package, context.storage.incoming / package.path, advance)


def _check_archives(filling: _Filling) -> CheckedEnvironment:
    """Read every new archive to its last byte; of cached ones it is kept what was read then.

    Raises:
        IntegrityError: a package would write, or points, out of the environment.
    """
    storage, plan = filling.context.storage, filling.plan

    def read(package: FileEntry) -> tuple[Record, Facts]:
        record, path = filling.records[package.path], storage.facts_path(package)
        facts = read_facts(path)
        if facts is None or not facts.covers("whole"):
            facts = scan_archive(storage.incoming / package.path, record, "whole")
            write_facts(path, facts)
        check_archive(facts, record)
        return record, facts

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return check_environment(list(pool.map(read, plan.packages)), plan.platform)


def _link(filling: _Filling, packages: CheckedEnvironment) -> None:
    """Fill the environment from the copies and the cache."""
    storage = filling.context.storage
    prefix, base = storage.prefix(filling.plan.release), folder_url(storage.incoming)
    packages = packages.at(lambda record: package_url(base, record.subdir, record.fn))
    with filling.context.progress.phase("link", len(packages.records), "packages") as done:
        if filling.by_conda:
            work, variables = storage.incoming / "conda", filling.context.environment
            link_by_conda.create(
                packages, prefix, link_by_conda.CondaRun(work, storage.conda_lock, variables)
            )
        else:
            link.link(packages, prefix, storage.cache, done)


def _check_and_flush(filling: _Filling) -> None:
    """Compare the environment with the release while the system writes it to the disk."""
    storage = filling.context.storage
    with ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(storage.flush)
        prefix = storage.prefix(filling.plan.release)
        differences = environment.compare_packages(prefix, filling.plan)
        flushed.result()
    if differences:
        raise IntegrityError(
            "the environment is not the release", got="; ".join(differences[:_SHOWN])
        )
