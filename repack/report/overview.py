"""The state of one label among all: what stands published, for how long, and what went wrong last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from repack.channel import manifest
from repack.channel.layout import MANIFEST, METADATA_DIR
from repack.channel.metadata_folder import read_folder
from repack.codec.decode import encode
from repack.conda.subdir import NOARCH
from repack.errors import RepackError
from repack.fs import atomic
from repack.fs.walk import read_or_none
from repack.label import files
from repack.names import LabelName
from repack.report import failures
from repack.report.document import REPORT_PAGE
from repack.report.html import render
from repack.report.watch import kept_report
from repack.timestamps import read_time
from repack.trust.recalls import recall_rows
from repack.trust.summary import MetadataSummary, summarize_metadata

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from repack.channel.folder import Channels
    from repack.channel.manifest import Manifest
    from repack.report.failures import LastFailure


_LOCK: Final = "repack/lock.yml"


class LabelState(Struct, frozen=True):
    """One label.

    Attributes:
        release: None when nothing is published.
        lock_since: when the first release with today's lock was made, as far as history goes.
        watched: what ``repack watch`` last found of this release, in a line.
        problem: why the label's state cannot be told.
    """

    label: str
    release: int | None = None
    date: str | None = None
    bytes: int = 0
    packages: int = 0
    platforms: tuple[str, ...] = ()
    signed: MetadataSummary = MetadataSummary()
    hmac: bool = False
    lock_since: str | None = None
    failure: LastFailure | None = None
    watched: str | None = None
    problem: str | None = None

    @property
    def signed_for(self) -> list[str]:
        """``ci``, ``production`` or ``production: wave-1``: who signs this release, for whom."""
        roles = self.signed.signed_for(self.release or 0)
        return [f"{role}: {' '.join(tags)}" if tags else role for role, tags in roles.items()]

    @property
    def recalled(self) -> str | None:
        """Why this release was recalled, if it was."""
        return self.signed.recalled.get(self.release or 0)

    @property
    def trust(self) -> str:
        """Who vouches for it, in a word or two."""
        if self.release is None:
            return "-"
        if self.signed.development:
            return "development keys"
        if roles := self.signed_for:
            return ", ".join(roles)
        return "shared key" if self.hmac else "unsigned"

    def to_json(self, now: datetime) -> dict[str, object]:
        """The row ``repack labels --json`` prints."""
        return {
            "label": self.label,
            "release": self.release,
            "date": self.date,
            "age_days": days(self.date, now),
            "bytes": self.bytes,
            "packages": self.packages,
            "platforms": list(self.platforms),
            "signed_for": self.signed_for,
            "development_keys": self.signed.development,
            "shared_key": self.hmac,
            "expires": self.signed.expires,
            "expires_in_days": until(self.signed.expires, now),
            "lock_since": self.lock_since,
            "lock_age_days": days(self.lock_since, now),
            "last_failure": encode(self.failure) if self.failure else None,
            "watch": self.watched,
            "recalled": recall_rows(self.signed.recalled),
            "problem": self.problem,
        }


def days(moment: str | None, now: datetime) -> int | None:
    """Whole days since ``moment``."""
    then = read_time(moment) if moment else None
    return None if then is None else max(0, (now - then).days)


def until(moment: str | None, now: datetime) -> int | None:
    """Whole days until ``moment``; negative when it is past."""
    then = read_time(moment) if moment else None
    return None if then is None else (then - now).days


def overview(channels: Channels, labels_dir: Path | None = None) -> tuple[LabelState, ...]:
    """The state of every label that has a file in ``labels_dir`` or a channel.

    Raises:
        PlaceError: a folder cannot be read.
    """
    names: set[str] = set(failures.labels(channels))
    if labels_dir is not None and labels_dir.is_dir():
        names |= set(files.names(labels_dir))
    return tuple(_state(channels, name) for name in sorted(names))


def write_page(channels: Channels) -> None:
    """Write ``channels/index.html``, unless it says the same already.

    Raises:
        SpaceError: the disk is full.
    """
    states = [(state, _has_page(channels, state)) for state in overview(channels)]
    page = render("labels.html.j2", None, states=states)
    path = channels.root / REPORT_PAGE
    if read_or_none(path) != page:
        atomic.write(path, page)


def _has_page(channels: Channels, state: LabelState) -> bool:
    return state.release is not None and (channels.root / state.label / REPORT_PAGE).is_file()


def _state(channels: Channels, name: str) -> LabelState:
    try:
        label = LabelName(name)
        failure = failures.last_failure(channels, label)
        data = channels.text(label, MANIFEST)
        if data is None:
            return LabelState(name, failure=failure)
        published = manifest.parse(data, MANIFEST)
        folder = channels.published(label) / METADATA_DIR
        watched = kept_report(channels, label, published.release)
        platforms = (
            (published.platform,) if isinstance(published.platform, str) else published.platform
        )
        return LabelState(
            label=name,
            release=published.release,
            date=published.generated_at,
            bytes=sum(artifact.size for artifact in published.artifacts),
            packages=len(published.artifacts),
            platforms=tuple(name for name in platforms if name != NOARCH),
            signed=summarize_metadata(read_folder(folder)),
            hmac=published.signature is not None,
            lock_since=_lock_since(channels, label, published),
            failure=failure,
            watched=watched.summary() if watched else None,
        )
    except RepackError as error:
        return LabelState(name, problem=error.what)


def _lock_since(channels: Channels, label: LabelName, published: Manifest) -> str | None:
    """When the first of the kept releases was made that has the lock of the published one."""
    lock, since = channels.text(label, _LOCK), published.generated_at
    for number in reversed(channels.releases(label)):
        if number >= published.release:
            continue
        if channels.remembered(label, number, _LOCK) != lock:
            break
        data = channels.remembered(label, number, MANIFEST)
        since = manifest.parse(data, MANIFEST).generated_at if data else since
    return since
