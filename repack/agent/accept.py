"""Accept: which of a medium's releases the target takes, after its signed metadata was checked."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import Struct

from repack.errors import ContentMissingError, NoMatchError, NoSuchReleaseError
from repack.timestamps import stamp
from repack.trust import client
from repack.trust.selection import (
    ReleaseFilter,
    RollbackState,
    check_not_future,
    check_times,
    fitting_releases,
    passed_over,
    raised_floor,
    warnings,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from repack.agent.context import AgentContext
    from repack.agent.medium import Medium
    from repack.agent.state import State
    from repack.trust.client import TrustedMetadata
    from repack.trust.recalls import Recalls
    from repack.trust.selection import SignedRelease

_RELEASE_NAME: Final = re.compile(r"(?:(?P<label>[a-z0-9._-]+)@)?(?P<number>[1-9][0-9]{0,8})\Z")


T = TypeVar("T")


class InstallRequest(Struct, frozen=True):
    """What is asked of a medium.

    Attributes:
        name: ``12`` or ``halkbank@12``; None for the newest that fits.
        trust: the folder of the metadata that was trusted before; it is updated.
        remembers: whether recalls that are seen are remembered.
    """

    name: str | None
    trust: Path
    remembers: bool = True


class AcceptedRelease(Struct, frozen=True):
    """The releases that may be taken.

    Attributes:
        candidates: the newest first; there is one at least. The next one is only taken when one is
            not whole on the medium, and only if it is newer than what runs.
        floor: the time that has certainly passed, now.
        clock_reset: the version of the root that last ordered the floor to be forgotten.
        recalled: every release that was ever seen recalled.
        notes: what was passed over and why, what will expire soon, or is odd about the clock.
    """

    candidates: tuple[SignedRelease, ...]
    floor: datetime
    clock_reset: int
    recalled: Recalls
    notes: tuple[str, ...]


class _AcceptedMetadata(Struct, frozen=True):
    """Metadata that was accepted, and what this target knows with it."""

    trusted: TrustedMetadata
    floor: datetime
    recalled: Recalls


def accept_metadata(
    context: AgentContext, medium: Medium, request: InstallRequest
) -> _AcceptedMetadata:
    """Check the medium's metadata by the TUF client workflow.

    Raises:
        TargetError: it is refused.
    """
    now, step = context.clock(), timedelta(days=context.settings.clock_step)
    remembered = context.storage.clock()

    def floor_under(root: TrustedMetadata) -> datetime | None:
        # A root that was signed by its threshold takes back a time that was believed wrongly
        is_reset = root.metadata.clock_reset > remembered.reset
        return None if is_reset else remembered.floor

    def check(trusted: TrustedMetadata) -> None:
        # The clock of a machine without network may have been set back to revive old metadata, so
        # times are compared with the floor, too.
        check_times(trusted.metadata.expiries(), now, floor_under(trusted))
        check_not_future(trusted.metadata.signed_at(), now, step)
        recalled = trusted.metadata.recalled
        if request.remembers:
            # Before the metadata itself: a recall that was seen is never forgotten
            context.storage.save_recalled(recalled)

    trusted = client.refresh(medium.metadata, request.trust, context.pinned_root(), check)
    floor = raised_floor(floor_under(trusted), trusted.metadata.signed_at(), now, step)
    recalled = {**context.storage.recalled(), **trusted.metadata.recalled}
    return _AcceptedMetadata(trusted, floor, recalled)


def accept(
    context: AgentContext, medium: Medium, state: State, request: InstallRequest
) -> AcceptedRelease:
    """Check the medium's metadata by the TUF client workflow and choose a release.

    Raises:
        TargetError: the metadata is refused, or nothing in it is for this target.
    """
    accepted = accept_metadata(context, medium, request)
    trusted, floor, recalled = accepted.trusted, accepted.floor, accepted.recalled
    now, expiries = context.clock(), trusted.metadata.expiries()
    number = None if request.name is None else _parse_name(context, request.name)
    settings = context.settings
    release_filter = ReleaseFilter(
        context.label, context.platform, settings.type, settings.tag, number
    )
    fitting = fitting_releases(
        trusted.releases, release_filter, RollbackState(floor, state.highest, recalled)
    )
    candidates, notes = fitting[:1], []
    if number is None:
        candidates = _untried(fitting, state, medium)
        chosen = candidates[0].number
        reasons = passed_over(trusted.releases, release_filter, chosen, recalled)
        reasons |= {
            release.number: "it failed here before"
            for release in fitting
            if release.number > chosen
        }
        notes = [_skipped(number, why) for number, why in sorted(reasons.items(), reverse=True)]
    notes += warnings(expiries, now)
    if now < floor:
        notes.append(f"the clock stands at {stamp(now)}, before a time seen signed, {stamp(floor)}")
    reset = trusted.metadata.clock_reset
    return AcceptedRelease(candidates, floor, reset, recalled, tuple(notes))


def _untried(
    fitting: tuple[SignedRelease, ...], state: State, medium: Medium
) -> tuple[SignedRelease, ...]:
    """The newest release that did not fail here, then the others that are newer than what runs.

    Raises:
        NoMatchError: the newest failed here, and no other is newer than what runs.
    """
    newer = [r for r in fitting if state.current is None or r.number > state.current]
    untried = tuple(r for r in newer if r.number not in state.failed)
    newest = fitting[0]
    if newest.number not in state.failed:
        return untried or (newest,)
    if untried:
        return untried
    raise NoMatchError(
        f"release {newest.number} is the newest that fits, and it failed here before",
        where=medium.folder,
        hint=f"bring a newer one, or try it again by --name {newest.number}",
    )


def _skipped(number: int, why: str) -> str:
    return f"release {number} was passed over: {why}"


def take_first_whole(
    accepted: AcceptedRelease, take: Callable[[SignedRelease], T]
) -> tuple[T, tuple[str, ...]]:
    """Take the first candidate that is whole on the medium.

    Args:
        take: takes one.

    Returns:
        What ``take`` returned, and the notes, with those on candidates that are not whole.

    Raises:
        ContentMissingError: none is whole; about the newest, with what was passed over.
    """
    first: ContentMissingError | None = None
    notes = accepted.notes
    for candidate in accepted.candidates:
        try:
            return take(candidate), notes
        except ContentMissingError as error:
            first = first or error
            notes = (_skipped(candidate.number, error.text()), *notes)
    assert first is not None  # noqa: S101 - there is one candidate at least
    if accepted.notes:
        first.got = "; ".join(map(str, filter(None, (first.got, *accepted.notes))))
    raise first


def _parse_name(context: AgentContext, name: str) -> int:
    match = _RELEASE_NAME.match(name)
    if match is None or match["label"] not in (None, context.label):
        raise NoSuchReleaseError(
            "no release is called that", where=name[:80], expected=f"12 or {context.label}@12"
        )
    return int(match["number"])
