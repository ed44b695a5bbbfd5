"""The state of one label among all: what stands published, for how long, and what went wrong last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from repack.channel import manifest
from repack.channel.layout import MANIFEST, METADATA_DIR
from repack.channel.metadata_folder import read_folder
from repack.codec.canonical import loads
from repack.conda.subdir import NOARCH
from repack.errors import IntegrityError, RepackError
from repack.fs import atomic
from repack.fs.walk import read_or_none
from repack.label import files as labels
from repack.names import LabelName
from repack.report import failures
from repack.report.document import REPORT_PAGE
from repack.report.html import render
from repack.timestamps import read_time
from repack.trust.selection import DEVELOPMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from repack.channel.folder import Channels
    from repack.channel.manifest import Manifest
    from repack.report.failures import LastFailure


_LOCK: Final = "repack/lock.yml"


_LIMIT: Final = 64 << 20
_SIGNING: Final = ("ci", "production")


class SignatureSummary(Struct, frozen=True):
    """What a release's metadata says, unverified: that is for those who receive it.

    Attributes:
        roles: ``ci``, ``production`` or ``production: wave-1``, for this release.
        expires: when the first of it does.
    """

    roles: tuple[str, ...] = ()
    expires: str | None = None
    development: bool = False


class LabelState(Struct, frozen=True):
    """One label.

    Attributes:
        release: None when nothing is published.
        lock_since: when the first release with today's lock was made, as far as history goes.
        problem: why the label's state cannot be told.
    """

    label: str
    release: int | None = None
    date: str | None = None
    bytes: int = 0
    packages: int = 0
    platforms: tuple[str, ...] = ()
    signed: SignatureSummary = SignatureSummary()
    hmac: bool = False
    lock_since: str | None = None
    failure: LastFailure | None = None
    problem: str | None = None

    @property
    def trust(self) -> str:
        """Who vouches for it, in a word or two."""
        if self.release is None:
            return "-"
        if self.signed.development:
            return "development keys"
        if self.signed.roles:
            return ", ".join(self.signed.roles)
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
            "signed_for": list(self.signed.roles),
            "development_keys": self.signed.development,
            "shared_key": self.hmac,
            "expires": self.signed.expires,
            "expires_in_days": until(self.signed.expires, now),
            "lock_since": self.lock_since,
            "lock_age_days": days(self.lock_since, now),
            "last_failure": self.failure.to_json() if self.failure else None,
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


def signed_by(files: Mapping[str, bytes], found: Manifest) -> SignatureSummary:
    """What the metadata ``files`` say of the release ``found``, by file name."""
    roles: list[str] = []
    expiries: list[str] = []
    newest, development = 0, False
    for name, data in sorted(files.items()):
        signed = _signed(data, name)
        if name.endswith(".root.json"):
            version = signed.get("version")
            if isinstance(version, int) and version > newest:
                newest, development = version, signed.get(DEVELOPMENT) is True
        elif isinstance(signed.get("expires"), str):
            expiries.append(signed["expires"])
        role = name.removesuffix(".json")
        if role in _SIGNING:
            roles += _role(role, signed, found)
    return SignatureSummary(tuple(roles), min(expiries, default=None), development)


def _signed(data: bytes, name: str) -> dict[str, Any]:
    if not name.endswith(".json"):
        return {}
    try:
        document = loads(data, name, _LIMIT)
    except IntegrityError:
        return {}
    signed = document.get("signed") if isinstance(document, dict) else None
    return signed if isinstance(signed, dict) else {}


def _role(role: str, signed: dict[str, Any], found: Manifest) -> list[str]:
    targets = signed.get("targets")
    rows: Iterable[Any] = targets.values() if isinstance(targets, dict) else ()
    said = []
    for row in rows:
        custom = row.get("custom") if isinstance(row, dict) else None
        if isinstance(custom, dict) and custom.get("release") == found.release:
            tags = [tag for tag in custom.get("tags") or () if isinstance(tag, str)]
            said.append(f"{role}: {' '.join(tags)}" if tags else role)
    return said


def overview(channels: Channels, labels_dir: Path | None = None) -> tuple[LabelState, ...]:
    """The state of every label that has a file in ``labels_dir`` or a channel.

    Raises:
        PlaceError: a folder cannot be read.
    """
    names: set[str] = set(failures.labels(channels))
    if labels_dir is not None and labels_dir.is_dir():
        names |= set(labels.names(labels_dir))
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
        found = manifest.parse(data, MANIFEST)
        folder = channels.published(label) / METADATA_DIR
        platforms = (found.platform,) if isinstance(found.platform, str) else found.platform
        return LabelState(
            label=name,
            release=found.release,
            date=found.generated_at,
            bytes=sum(artifact.size for artifact in found.artifacts),
            packages=len(found.artifacts),
            platforms=tuple(one for one in platforms if one != NOARCH),
            signed=signed_by(read_folder(folder), found),
            hmac=found.signature is not None,
            lock_since=_lock_since(channels, label, found),
            failure=failure,
        )
    except RepackError as error:
        return LabelState(name, problem=error.what)


def _lock_since(channels: Channels, label: LabelName, found: Manifest) -> str | None:
    """When the first of the kept releases was made that has the lock of the published one."""
    lock, since = channels.text(label, _LOCK), found.generated_at
    for number in reversed(channels.releases(label)):
        if number >= found.release:
            continue
        if channels.remembered(label, number, _LOCK) != lock:
            break
        data = channels.remembered(label, number, MANIFEST)
        since = manifest.parse(data, MANIFEST).generated_at if data else since
    return since
