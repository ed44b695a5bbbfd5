"""Which signed release a target takes, and whether its metadata has expired.

Pure decisions over metadata whose signatures were checked before. A refusal names the first thing
that an administrator can act on, in this order: wrong type of medium, wrong tag, wrong platform,
nothing newer.

Time: the clock of a machine without network may be wrong, so a target remembers a time that has
certainly passed, the clock floor, and judges expiry at the later of clock and floor: expired metadata
does not become valid by setting the clock back. The floor is the target's own clock, the time signed
by a threshold of *targets* keys, or at most a bounded step after the later of the two. Snapshot and
timestamp, whose keys are online, never move it. Metadata signed later than that step is refused.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct, field

from repack.codec.decode import Document, decode
from repack.errors import (
    ClockSetBackError,
    FutureMetadataError,
    IntegrityError,
    MetadataExpiredError,
    MetadataInvalidError,
    MixAndMatchError,
    NoMatchError,
    NoSuchReleaseError,
    RollbackError,
    WrongTagError,
    WrongTypeError,
)
from repack.keys.keyset import WARN_DAYS
from repack.names import Digest
from repack.timestamps import stamp
from repack.trust.recalls import Recalls, recalled_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SignedFor = Literal["ci", "production"]
CLOCK_STEP: Final = timedelta(days=35)
"""How far metadata may be ahead of what a target believes to be the time."""
DEVELOPMENT: Final = "x-repack-development"
"""Field of root metadata: whether the keys are for development."""
_ONLINE_ONLY: Final = ("snapshot", "timestamp")
_TARGET_PATH: Final = re.compile(r"releases/([1-9][0-9]{0,9})/manifest\.json")


class ReleaseCustom(Document, frozen=True):
    """The ``custom`` object of a target (TUF specification 4.5): whom the release is for."""

    label: str
    release: int
    platforms: tuple[str, ...]
    tags: tuple[str, ...]
    type: SignedFor


class SignedRelease(Struct, frozen=True):
    """A release as the metadata signs it: its manifest by length and hash, and whom it is for."""

    number: int
    label: str
    platforms: tuple[str, ...]
    tags: tuple[str, ...]
    type: SignedFor
    length: int
    sha256: Digest

    @property
    def path(self) -> str:
        """The TUF target path."""
        return target_path(self.number)


class ReleaseFilter(Struct, frozen=True):
    """What a target asks for; without ``release``, the newest release that fits."""

    label: str
    platform: str
    type: SignedFor
    tag: str | None = None
    release: int | None = None


class RollbackState(Struct, frozen=True):
    """What a target remembers: the clock floor, the highest release it has installed, recalls."""

    floor: datetime | None = None
    release: int = 0
    recalled: Recalls = field(default_factory=dict)


def target_path(number: int) -> str:
    """The TUF target path of a release's manifest."""
    return f"releases/{number}/manifest.json"


def parse_release(
    path: str, length: int, hashes: Mapping[str, str], custom: object
) -> SignedRelease:
    """Read one entry of TARGETS, as python-tuf gives it.

    Raises:
        MetadataInvalidError: the path, a hash or a field is not what repack signs.
    """
    match = _TARGET_PATH.fullmatch(path)
    if match is None:
        raise MetadataInvalidError("a signed target is no release", got=path[:120])
    try:
        fields = decode(ReleaseCustom, custom, path, "signed release")
        sha256 = Digest(hashes["sha256"])
    except IntegrityError as error:
        raise MetadataInvalidError(error.what, where=path, got=error.got) from error
    except KeyError as error:
        raise MetadataInvalidError("a signed release has no SHA-256", where=path) from error
    number = int(match[1])
    if fields.release != number:
        raise MixAndMatchError("path and number of a release differ", where=path)
    return SignedRelease(
        number, fields.label, fields.platforms, fields.tags, fields.type, length, sha256
    )


def choose(
    releases: Sequence[SignedRelease], request: ReleaseFilter, state: RollbackState
) -> SignedRelease:
    """The release this target takes: the newest of :func:`fitting_releases`, which raises."""
    return fitting_releases(releases, request, state)[0]


def fitting_releases(
    releases: Sequence[SignedRelease], request: ReleaseFilter, state: RollbackState
) -> tuple[SignedRelease, ...]:
    """The releases this target can take, out of all that the metadata signs; the newest first.

    Args:
        releases: those of the ``ci`` and of the ``production`` role.
        request: what the target asks for.
        state: what it remembers; only a release that is named may be older.

    Raises:
        MixAndMatchError: a release is another label's.
        NoSuchReleaseError: the named one is not signed at all.
        RecalledError: the named one, or every one that fits, was recalled.
        WrongTypeError: it is signed for the other type only.
        WrongTagError: it is signed for other tags only.
        NoMatchError: nothing fits both tag and platform.
        RollbackError: the newest that fits is older than the highest that was installed.
    """
    for release in releases:
        if release.label != request.label:
            raise MixAndMatchError(
                "the release is another label's", expected=request.label, got=release.label
            )
    numbered = [release for release in releases if request.release in {None, release.number}]
    if request.release is not None and not numbered:
        numbers = sorted({release.number for release in releases})
        raise NoSuchReleaseError(
            f"release {request.release} is not signed",
            expected=", ".join(map(str, numbers)) or "none",
            hint="take one of these, or another medium",
        )
    if request.release in state.recalled:
        numbers, hint = [release.number for release in numbered[:1]], "take a newer release"
        raise recalled_error(state.recalled, numbers, hint)
    if not (typed := [release for release in numbered if release.type == request.type]):
        only_type = "ci" if request.type == "production" else "production"
        raise WrongTypeError(
            "no release is signed for this type",
            expected=request.type,
            got=only_type if numbered else "none",
            hint="promote one: repack promote" if request.type == "production" else None,
        )
    if not (tagged := [release for release in typed if _has_tag(release, request.tag)]):
        tags = sorted({tag for release in typed for tag in release.tags})
        raise WrongTagError(
            "no release is signed for this tag",
            expected=request.tag,
            got=", ".join(tags) or "none",
        )
    fitting = [release for release in tagged if request.platform in release.platforms]
    if not fitting:
        platforms = sorted({platform for release in tagged for platform in release.platforms})
        raise NoMatchError(
            "no release is for this platform", expected=request.platform, got=", ".join(platforms)
        )
    fitting.sort(key=lambda release: release.number, reverse=True)
    recalled = [release.number for release in fitting if release.number in state.recalled]
    fitting = [release for release in fitting if release.number not in state.recalled]
    if recalled and (not fitting or fitting[0].number < state.release <= recalled[0]):
        # Going back to an older release is for a person to decide, even after a recall
        older = f", or go back on purpose: --name {fitting[0].number}" if fitting else ""
        raise recalled_error(state.recalled, recalled, f"bring a medium with a newer one{older}")
    newest = fitting[0]
    if request.release is None and newest.number < state.release:
        raise RollbackError(
            "the newest release here is older than the one this target has had",
            expected=f"{state.release} or later",
            got=newest.number,
            hint="name the release to go back on purpose",
        )
    return tuple(
        release for release in fitting if request.release or release.number >= state.release
    )


def passed_over(
    releases: Sequence[SignedRelease], request: ReleaseFilter, chosen: int, recalled: Recalls
) -> dict[int, str]:
    """Why releases that are newer than the chosen one are not for this target, by their number."""
    reasons: dict[int, str] = {}
    for number in sorted({r.number for r in releases if r.number > chosen}, reverse=True):
        signed = [release for release in releases if release.number == number]
        typed = [release for release in signed if release.type == request.type]
        tagged = [release for release in typed if _has_tag(release, request.tag)]
        if number in recalled:
            reasons[number] = f"it was recalled: {recalled[number]}"
        elif not typed:
            reasons[number] = (
                f"it is signed for {signed[0].type}, and this target takes {request.type}"
            )
        elif not tagged:
            tags = ", ".join(sorted({tag for release in typed for tag in release.tags}))
            reasons[number] = f"it is signed for other tags: {tags or 'none'}"
        elif all(request.platform not in release.platforms for release in tagged):
            reasons[number] = f"it is for {', '.join(tagged[0].platforms)}"
    return reasons


def _has_tag(release: SignedRelease, tag: str | None) -> bool:
    """A release for production names its tags; one for ci without tags is for every tag."""
    return tag is None or tag in release.tags or (release.type == "ci" and not release.tags)


def check_times(expiries: Mapping[str, datetime], now: datetime, floor: datetime | None) -> None:
    """Check that nothing has expired, by the clock or by the floor.

    Source: TUF specification 5.3.10, 5.4.4, 5.5.6 and 5.6.5 (freeze attack); the floor is ours.

    Args:
        expiries: when the metadata of each role expires.
        now: the machine's clock.
        floor: a time that has certainly passed.

    Raises:
        MetadataExpiredError: expired by the clock.
        ClockSetBackError: expired by the floor, and the clock says otherwise.
    """
    latest = now if floor is None else max(now, floor)
    for role, expires in sorted(expiries.items(), key=itemgetter(1)):
        if now >= expires:
            raise MetadataExpiredError(
                f"the metadata of role {role} has expired",
                expected=f"used before {stamp(expires)}",
                got=stamp(now),
                hint="bring a newer medium; is the clock right?",
            )
        if latest >= expires:
            raise ClockSetBackError(
                f"the clock was set back, and the metadata of role {role} has expired",
                expected=f"a clock at or after {stamp(latest)}, which this target has seen",
                got=stamp(now),
                hint="set the clock, and bring a newer medium; if the target was led astray, the "
                "vendor resets it: repack key rotate NAME --reset-clock",
            )


def latest_credible(
    signed_at: Mapping[str, datetime], now: datetime, step: timedelta = CLOCK_STEP
) -> datetime:
    """The latest signing time that is believed: ``step`` after the clock or the targets' time."""
    return max(now, signed_at.get("targets", now)) + step


def check_not_future(
    signed_at: Mapping[str, datetime], now: datetime, step: timedelta = CLOCK_STEP
) -> None:
    """Check that no metadata was signed at a time that cannot have come yet.

    Args:
        signed_at: when the metadata of each role was signed, as it says.
        now: the machine's clock.
        step: how far ahead it may be.

    Raises:
        FutureMetadataError: some was.
    """
    limit = latest_credible(signed_at, now, step)
    for role, time in sorted(signed_at.items()):
        if time > limit:
            raise FutureMetadataError(
                f"the metadata of role {role} was signed in the future",
                expected=f"signed by {stamp(limit)}; the clock stands at {stamp(now)}",
                got=stamp(time),
                hint="set the clock; if it is right, the vendor signed with a wrong date, or a key "
                "was stolen",
            )


def raised_floor(
    floor: datetime | None,
    signed_at: Mapping[str, datetime],
    now: datetime,
    step: timedelta = CLOCK_STEP,
) -> datetime:
    """The new clock floor, never below ``floor``.

    Args:
        floor: the one before.
        signed_at: when the accepted metadata of each role was signed.
        now: the machine's clock.
        step: how far past clock and targets' time the other roles may move it.
    """
    limit = latest_credible(signed_at, now, step)
    # The keys of snapshot and timestamp are on the build machine and sign every day
    times = (min(time, limit) for role, time in signed_at.items() if role not in _ONLINE_ONLY)
    return max([now, *times, *([floor] if floor is not None else [])])


def warnings(expiries: Mapping[str, datetime], now: datetime) -> tuple[str, ...]:
    """What will expire within the next thirty days, soonest first."""
    soon = timedelta(days=WARN_DAYS)
    return tuple(
        f"the metadata of role {role} expires on {expires:%Y-%m-%d}, in {(expires - now).days} days"
        for role, expires in sorted(expiries.items(), key=itemgetter(1))
        if now < expires <= now + soon
    )
