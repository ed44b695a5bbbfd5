"""Accept: what of a medium this target believes, and which release it takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.errors import NoMatchError, NoSuchReleaseError
from repack.timestamps import stamp
from repack.trust import client
from repack.trust.selection import (
    ReleaseFilter,
    RollbackState,
    check_times,
    choose,
    raised_floor,
    warnings,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from repack.agent.context import AgentContext
    from repack.agent.medium import Medium
    from repack.agent.state import State
    from repack.trust.selection import SignedRelease

_NAME: Final = re.compile(r"(?:(?P<label>[a-z0-9._-]+)@)?(?P<number>[1-9][0-9]{0,8})\Z")


class InstallRequest(Struct, frozen=True):
    """What is asked of a medium.

    Attributes:
        name: ``12`` or ``halkbank@12``; None for the newest that fits.
        trust: the folder of what was believed before; it is updated.
    """

    name: str | None
    trust: Path


class AcceptedRelease(Struct, frozen=True):
    """A release that is taken.

    Attributes:
        floor: the latest time seen signed, now.
        notes: what will expire soon, or is odd about the clock.
    """

    signed: SignedRelease
    floor: datetime | None
    notes: tuple[str, ...]


def accept(
    site: AgentContext, medium: Medium, state: State, asked: InstallRequest
) -> AcceptedRelease:
    """Believe the medium's metadata and choose a release.

    Raises:
        TargetError: the metadata is refused, or nothing in it is for this target.
    """
    believed = client.refresh(medium.metadata, asked.trust, site.pinned())
    expiries, signed_at = believed.metadata.expiries(), believed.metadata.signed_at()
    floor, now = site.device.floor(), site.clock()
    check_times(expiries, now, floor)
    floor = raised_floor(floor, signed_at)
    number = None if asked.name is None else _number(site, asked.name)
    settings = site.settings
    wanted = ReleaseFilter(site.label, site.platform, settings.type, settings.tag, number)
    chosen = choose(believed.releases, wanted, RollbackState(floor, state.highest))
    if number is None and chosen.number in state.failed:
        raise NoMatchError(
            f"release {chosen.number} is the newest that fits, and it failed here before",
            where=medium.folder,
            hint=f"bring a newer one, or try it again by --name {chosen.number}",
        )
    notes = list(warnings(expiries, now))
    if floor is not None and now < floor:
        notes.append(f"the clock stands at {stamp(now)}, before a time seen signed, {stamp(floor)}")
    return AcceptedRelease(chosen, floor, tuple(notes))


def _number(site: AgentContext, name: str) -> int:
    found = _NAME.match(name)
    if found is None or found["label"] not in (None, site.label):
        raise NoSuchReleaseError(
            "no release is called that", where=name[:80], expected=f"12 or {site.label}@12"
        )
    return int(found["number"])
