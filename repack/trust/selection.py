"""What a target believes: which signed release it takes, and at what time it thinks it is.

Pure decisions over metadata whose signatures somebody has checked. The order of the questions is
the order in which an administrator can do something about the answers: wrong kind of medium, wrong
tag, wrong platform, nothing newer.

Time: a machine without network may have any clock. What it can know is that it is not earlier
than the latest time it has seen *signed*; that is the clock floor. Expiry is judged at the later
of clock and floor, so that setting a clock back brings no expired metadata to life.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from repack.channel.manifest import parse as parse_manifest
from repack.errors import (
    ClockSetBackError,
    ContentMissingError,
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
from repack.timestamps import show

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from repack.channel.manifest import Manifest

SignedFor = Literal["ci", "production"]
DEVELOPMENT: Final = "x-repack-development"
"""The field of a root that says its keys are for development."""
_TARGET_PATH: Final = re.compile(r"releases/([1-9][0-9]{0,9})/manifest\.json")


class SignedRelease(Struct, frozen=True):
    """One release as the metadata signs it: its manifest by hash, and whom it is for."""

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
    """What a target asks for; without ``release`` the newest that fits."""

    label: str
    platform: str
    type: SignedFor
    tag: str | None = None
    release: int | None = None


class RollbackState(Struct, frozen=True):
    """What a target remembers: the clock floor, and the highest release it has had."""

    floor: datetime | None = None
    release: int = 0


def target_path(number: int) -> str:
    """The TUF target path of a release's manifest."""
    return f"releases/{number}/manifest.json"


def parse_release(
    path: str, length: int, hashes: Mapping[str, str], custom: object
) -> SignedRelease:
    """Read one signed target.

    Raises:
        MetadataInvalidError: the path, a hash or a field is not what repack signs.
    """
    found = _TARGET_PATH.fullmatch(path)
    if found is None or not isinstance(custom, dict):
        raise MetadataInvalidError("a signed target is no release", got=path[:120])
    number, kind = int(found[1]), custom.get("type")
    if custom.get("release") != number or isinstance(custom.get("release"), bool):
        raise MixAndMatchError("path and number of a release differ", where=path)
    if kind not in ("ci", "production") or not isinstance(custom.get("label"), str):
        raise MetadataInvalidError("a signed release has no label or type", where=path)
    try:
        sha256 = Digest(hashes["sha256"])
    except (KeyError, IntegrityError) as error:
        raise MetadataInvalidError("a signed release has no SHA-256", where=path) from error
    platforms, tags = _texts(custom, "platforms", path), _texts(custom, "tags", path)
    return SignedRelease(number, custom["label"], platforms, tags, kind, length, sha256)


def _texts(custom: Mapping[str, object], name: str, where: str) -> tuple[str, ...]:
    value = custom.get(name)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise MetadataInvalidError(f"{name} of a signed release is no list of texts", where=where)
    return tuple(value)


def choose(
    releases: Sequence[SignedRelease], wanted: ReleaseFilter, seen: RollbackState
) -> SignedRelease:
    """The release this target takes, out of all that the metadata signs.

    Args:
        releases: those of the ``ci`` and of the ``production`` role.
        wanted: what the target asks for.
        seen: what it remembers; only a release that is named may be older.

    Raises:
        MixAndMatchError: a release is another label's.
        NoSuchReleaseError: the named one is not signed at all.
        WrongTypeError: it is signed for the other type only.
        WrongTagError: it is signed for other tags only.
        NoMatchError: nothing fits both tag and platform.
        RollbackError: the newest that fits is older than what the target has had.
    """
    for release in releases:
        if release.label != wanted.label:
            raise MixAndMatchError(
                "the release is another label's", expected=wanted.label, got=release.label
            )
    left = [one for one in releases if wanted.release in {None, one.number}]
    if wanted.release is not None and not left:
        raise NoSuchReleaseError(
            f"release {wanted.release} is not signed",
            expected=_numbers(releases),
            hint="take one of these, or another medium",
        )
    if not (typed := [one for one in left if one.type == wanted.type]):
        got = "ci" if wanted.type == "production" else "production"
        raise WrongTypeError(
            "no release is signed for this type",
            expected=wanted.type,
            got=got if left else "none",
            hint="promote one: repack promote" if wanted.type == "production" else None,
        )
    if not (tagged := [one for one in typed if _has_tag(one, wanted.tag)]):
        tags = sorted({tag for one in typed for tag in one.tags})
        raise WrongTagError(
            "no release is signed for this tag", expected=wanted.tag, got=", ".join(tags) or "none"
        )
    fitting = [one for one in tagged if wanted.platform in one.platforms]
    if not fitting:
        platforms = sorted({platform for one in tagged for platform in one.platforms})
        raise NoMatchError(
            "no release is for this platform", expected=wanted.platform, got=", ".join(platforms)
        )
    newest = max(fitting, key=lambda one: one.number)
    if wanted.release is None and newest.number < seen.release:
        raise RollbackError(
            "the newest release here is older than the one this target has had",
            expected=f"{seen.release} or later",
            got=newest.number,
            hint="name the release to go back on purpose",
        )
    return newest


def accept_manifest(release: SignedRelease, data: bytes, where: object) -> Manifest:
    """The manifest of a release that was chosen, if ``data`` is the one that was signed for.

    Raises:
        ContentMissingError: it is another one, or cut off.
        IntegrityError: it is the one, and malformed.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    if len(data) != release.length or sha256 != release.sha256:
        raise ContentMissingError(
            f"the manifest is not the one that is signed for release {release.number}",
            where=where,
            expected=f"{release.sha256}, {release.length} bytes",
            got=f"{sha256}, {len(data)} bytes",
            hint="copy the medium again",
        )
    found = parse_manifest(data, where)
    if (found.id, found.version) != (release.label, str(release.number)):
        raise MixAndMatchError(
            "the signed manifest is of another release",
            where=where,
            expected=f"{release.label} {release.number}",
            got=f"{found.id} {found.version}",
        )
    return found


def _has_tag(release: SignedRelease, tag: str | None) -> bool:
    """A release for production names its tags; one for ci without tags is for every tag."""
    return tag is None or tag in release.tags or (release.type == "ci" and not release.tags)


def _numbers(releases: Iterable[SignedRelease]) -> str:
    return ", ".join(map(str, sorted({one.number for one in releases}))) or "none"


def check_times(expiries: Mapping[str, datetime], now: datetime, floor: datetime | None) -> None:
    """Check that nothing is past its date, by the clock or by the floor.

    Raises:
        MetadataExpiredError: expired by the clock.
        ClockSetBackError: expired by the floor, and the clock says otherwise.
    """
    judged = now if floor is None else max(now, floor)
    for role, expires in sorted(expiries.items(), key=lambda row: row[1]):
        if now >= expires:
            raise MetadataExpiredError(
                f"the metadata of role {role} has expired",
                expected=f"used before {show(expires)}",
                got=show(now),
                hint="bring a newer medium; is the clock right?",
            )
        if judged >= expires:
            raise ClockSetBackError(
                f"the clock was set back, and the metadata of role {role} has expired",
                expected=f"a clock at or after {show(judged)}, the latest time seen signed",
                got=show(now),
                hint="set the clock, and bring a newer medium",
            )


def raised_floor(floor: datetime | None, signed_at: Iterable[datetime]) -> datetime | None:
    """The new clock floor: the latest time ever seen signed. It never sinks."""
    return max([*signed_at, *([floor] if floor is not None else [])], default=None)


def warnings(expiries: Mapping[str, datetime], now: datetime) -> tuple[str, ...]:
    """What will expire within the next thirty days, soonest first."""
    soon = timedelta(days=WARN_DAYS)
    return tuple(
        f"the metadata of role {role} expires on {expires:%Y-%m-%d}, in {(expires - now).days} days"
        for role, expires in sorted(expiries.items(), key=lambda row: row[1])
        if now < expires <= now + soon
    )
