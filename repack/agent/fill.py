"""Fill: make the environment of a release beside the one in use, or leave nothing behind.

py-rattler does it, or the conda of the machine where py-rattler does not run. Whoever does it, the
archives were checked before and the environment is compared with the release afterwards.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.agent import environment
from repack.errors import ContentMissingError, IntegrityError, PlaceError, TargetSpaceError
from repack.fs import volume
from repack.prefix import link, link_by_conda
from repack.urls import folder_url, package_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.agent.context import AgentContext
    from repack.agent.medium import Medium, MediumRelease
    from repack.agent.state import State
    from repack.channel.install_plan import InstallPlan
    from repack.conda.record import Record
    from repack.file_entry import FileEntry
    from repack.names import RelPath

# An environment takes about four times what its archives take, which are copied first.
_UNPACKED: Final = 5
_SHOWN: Final = 20


class _Filling(Struct, frozen=True):
    """What is filled, from where, and whether conda does it."""

    site: AgentContext
    medium: Medium
    delivery: InstallPlan
    records: Mapping[RelPath, Record]
    by_conda: bool


def fill(site: AgentContext, state: State, release: MediumRelease, delivery: InstallPlan) -> None:
    """Fill the environment of a release, compare it, and have it on the disk.

    Args:
        state: the journal, which is as it was if this fails.

    Raises:
        ContentMissingError: a package is missing, damaged or does not install.
        TargetSpaceError: the release does not fit.
        SpaceError: the disk became full.
        PlaceError: the target's disk cannot be written.
    """
    device, number = site.device, delivery.release
    if missing := release.medium.missing(delivery):
        raise ContentMissingError(
            f"{len(missing)} of {len(delivery.parcels)} packages are not on the medium, or not whole",
            where=release.medium.folder,
            got="; ".join(missing[:_SHOWN]),
            hint="the medium is incomplete or damaged; copy it again",
        )
    what = _Filling(site, release.medium, delivery, release.records(delivery), _by_conda(site))
    # conda would have to be trusted to find in a cache what was checked: it gets an empty one
    here = frozenset(() if what.by_conda else device.reusable(delivery))
    new = tuple(parcel for parcel in delivery.parcels if parcel not in here)
    _check_space(site, new)
    filling = state.fill(number)
    device.save(filling)
    try:
        device.discard(number)
        changed = _lay_out(what, new, here)
        while changed:
            device.discard(number)
            here = here.difference(changed)
            changed = _lay_out(what, changed, here)
        _see(what)
        device.keep(delivery)
        device.save(filling.filled())
    except BaseException as error:
        device.discard(number)
        device.clean()
        device.save(state)
        if isinstance(error, IntegrityError):
            raise ContentMissingError(
                "the packages do not install", where=release.medium.folder, got=error.text()
            ) from error
        raise
    device.clean()


def _by_conda(site: AgentContext) -> bool:
    engine = site.settings.engine
    if engine == "conda":
        return True
    if link.load():
        return False
    if engine == "rattler":
        raise PlaceError(
            "py-rattler does not run here", hint='let conda do it: [install] engine = "conda"'
        )
    site.progress.note("py-rattler does not run here; conda fills the environment")
    return True


def _lay_out(
    what: _Filling, new: Sequence[FileEntry], here: frozenset[FileEntry]
) -> tuple[FileEntry, ...]:
    """Take ``new`` from the medium and link all.

    Whether anybody changed what is ``here`` is found out meanwhile: there are tens of thousands
    of files to look at, and rattler leaves one core free.

    Returns:
        What was changed, and has to be taken from the medium after all.
    """
    device = what.site.device
    device.forget(new)
    _take(what, new)
    with ThreadPoolExecutor(1) as pool:
        changed = pool.submit(device.changed, here)
        _link(what)
        return changed.result()


def _check_space(site: AgentContext, new: Sequence[FileEntry]) -> None:
    need, free = sum(p.size for p in new) * _UNPACKED, volume.free_bytes(site.device.folder)
    if need > free:
        raise TargetSpaceError(
            "the release does not fit on this disk",
            where=site.device.folder,
            expected=f"about {need} bytes",
            got=f"{free} bytes free",
            hint="free some space, or keep fewer releases: [storage] keep",
        )


def _take(what: _Filling, new: Sequence[FileEntry]) -> None:
    """Copy packages; after this they are not read from the medium any more."""
    site = what.site
    with site.progress.phase("copy", sum(p.size for p in new), "bytes") as advance:
        for parcel in new:
            what.medium.copy(parcel, site.device.incoming / parcel.path, advance)


def _link(what: _Filling) -> None:
    """Fill the environment from the copies and the cache."""
    device = what.site.device
    prefix, base = device.prefix(what.delivery.release), folder_url(device.incoming)
    local = [
        replace(record, url=package_url(base, record.subdir, record.fn))
        for record in what.records.values()
    ]
    with what.site.progress.phase("link", len(local), "packages") as done:
        if what.by_conda:
            work, variables = device.incoming / "conda", what.site.environment
            link_by_conda.create(
                local, prefix, link_by_conda.CondaRun(work, device.conda_lock, variables)
            )
        else:
            link.link(local, prefix, device.cache, done)


def _see(what: _Filling) -> None:
    """See that the environment is the release, while the system writes it to the disk."""
    device = what.site.device
    with ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(device.flush)
        found = environment.packages(device.prefix(what.delivery.release), what.delivery)
        flushed.result()
    if found:
        raise IntegrityError("the environment is not the release", got="; ".join(found[:_SHOWN]))
