"""Install: take a release from a medium and fill a new environment beside the old one.

What is in use is not touched before the journal says ``pending``: then the new environment is
whole, compared with the manifest, and on the disk.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from repack.errors import (
    ChangedByHandError,
    ContentMissingError,
    IntegrityError,
    TargetSpaceError,
)
from repack.model.urls import package_url
from repack.places import environment, host
from repack.places.files import folder_url
from repack.places.linker import link
from repack.places.medium import Medium
from repack.target import run
from repack.target.accept import Asked, accept
from repack.target.site import Done

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from repack.model.agent import State
    from repack.model.delivery import Delivery, Parcel
    from repack.model.names import RelPath
    from repack.model.record import Record
    from repack.places.medium import MediumRelease
    from repack.target.site import Site

# An environment takes about four times what its archives take, which are copied first.
_UNPACKED: Final = 5
_SHOWN: Final = 20


def install(site: Site, source: Path, name: str | None = None) -> Done:
    """Install the newest release that fits, or the one that is named, from a medium.

    Args:
        site: the target.
        source: a channel, or a folder of channels.
        name: ``12`` or ``halkbank@12``.

    Raises:
        RunAwaitedError: another release waits for ``run``.
        TargetError: the medium is refused; or the release failed in ``run``, see there.
        LicenseError: the label asks for a licence, and this device has none.
        TargetSpaceError: the disk is full, or would be.
        BusyError: another agent works on it.
    """
    with site.at_work():
        state = _ready(site)
        medium = Medium.find(source, site.label)
        accepted = accept(site, medium, state, Asked(name, site.device.trust))
        site.device.raise_floor(accepted.floor)
        for note in accepted.notes:
            site.progress.note(f"warning: {note}")
        number = accepted.signed.number
        if number == state.current and site.device.pointer.get() == number:
            _check_unchanged(site, site.device.delivery(number))
            return Done(site.label, "unchanged", number, number, site.tidy())
        if number in site.device.whole():
            delivery = site.device.delivery(number)
            _check_license(site, delivery)
            _check_unchanged(site, delivery)
            site.device.save(state.fill(number).filled())
        else:
            release = medium.release(accepted.signed)
            delivery = release.delivery(site.platform)
            _check_license(site, delivery)
            _fill(site, state, release, delivery)
        if delivery.wishes.after_install == "none":
            return run.finish(site)
        did = delivery.wishes.after_install
        return Done(site.label, did, number, state.current, accepted.notes)


def _ready(site: Site) -> State:
    """The journal, once what was cut off is cleared away; no release waits for ``run``."""
    run.settle(site)
    state = site.device.load()
    if state.phase == "reverting":
        run.go_back(site, state, None)
    elif state.phase in ("pending", "trying") and run.follows_install(site, state):
        run.finish(site)  # an installation was cut off just before, or in, its second half
    state = site.device.load()
    state.must_be_free()
    return state


def _check_license(site: Site, delivery: Delivery) -> None:
    if delivery.wishes.needs_license:
        site.licensed(site.label)


def _check_unchanged(site: Site, delivery: Delivery) -> None:
    prefix = site.device.prefix(delivery.release)
    if found := environment.packages(prefix, delivery):
        raise ChangedByHandError(
            f"release {delivery.release} was changed by hand since it was installed",
            where=prefix,
            got="; ".join(found[:_SHOWN]),
            hint="it is left as it is; install another release, or roll back",
        )


def _fill(site: Site, state: State, release: MediumRelease, delivery: Delivery) -> None:
    """Make the environment of a release beside the one in use, or leave nothing behind."""
    device, number = site.device, delivery.release
    if missing := release.medium.missing(delivery):
        raise ContentMissingError(
            f"{len(missing)} of {len(delivery.parcels)} packages are not on the medium, or not whole",
            where=release.medium.folder,
            got="; ".join(missing[:_SHOWN]),
            hint="the medium is incomplete or damaged; copy it again",
        )
    records = release.records(delivery)
    known = device.reusable()
    new = tuple(p for p in delivery.parcels if known.get(p.dist) != p.sha256)
    _check_space(site, new)
    filling = state.fill(number)
    device.save(filling)
    try:
        device.discard(number)
        device.forget(parcel.dist for parcel in new)
        _take(site, release.medium, new)
        _link(site, delivery, records)
        device.flush()
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


def _check_space(site: Site, new: Sequence[Parcel]) -> None:
    need, free = sum(p.size for p in new) * _UNPACKED, host.free_bytes(site.device.folder)
    if need > free:
        raise TargetSpaceError(
            "the release does not fit on this disk",
            where=site.device.folder,
            expected=f"about {need} bytes",
            got=f"{free} bytes free",
            hint="free some space, or keep fewer releases: [storage] keep",
        )


def _take(site: Site, medium: Medium, new: Sequence[Parcel]) -> None:
    """Copy the packages that are new here; after this the medium is not needed any more."""
    with site.progress.phase("copy", sum(p.size for p in new), "bytes") as advance:
        for parcel in new:
            medium.copy(parcel, site.device.incoming / parcel.path, advance)


def _link(site: Site, delivery: Delivery, records: Mapping[RelPath, Record]) -> None:
    """Fill the environment from the copies and the cache, and see that it is the release."""
    prefix, base = site.device.prefix(delivery.release), folder_url(site.device.incoming)
    local = [
        replace(record, url=package_url(base, record.subdir, record.fn))
        for record in records.values()
    ]
    with site.progress.phase("link", len(local), "packages") as done:
        link(local, prefix, site.device.cache, done)
    if found := environment.packages(prefix, delivery):
        raise IntegrityError("the environment is not the release", got="; ".join(found[:_SHOWN]))
