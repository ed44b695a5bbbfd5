"""The state of one label among all: what stands published, for how long, and what went wrong last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from repack.codec.canonical import loads
from repack.errors import IntegrityError
from repack.trust.selection import DEVELOPMENT, read_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from repack.channel.manifest import Manifest

_LIMIT: Final = 64 << 20
_SIGNING: Final = ("ci", "production")


@dataclass(frozen=True, slots=True)
class Failure:
    """The last build of a label, when it failed."""

    when: str
    kind: str
    what: str

    def to_json(self) -> dict[str, object]:
        """The file, and the field of the overview."""
        return {"when": self.when, "error": self.kind, "what": self.what}


@dataclass(frozen=True, slots=True)
class Signed:
    """What a release's metadata says, unverified: that is for those who receive it.

    Attributes:
        roles: ``ci``, ``production`` or ``production: wave-1``, for this release.
        expires: when the first of it does.
    """

    roles: tuple[str, ...] = ()
    expires: str | None = None
    development: bool = False


@dataclass(frozen=True, slots=True)
class State:
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
    signed: Signed = Signed()
    hmac: bool = False
    lock_since: str | None = None
    failure: Failure | None = None
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


def signed_by(files: Mapping[str, bytes], found: Manifest) -> Signed:
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
    return Signed(tuple(roles), min(expiries, default=None), development)


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
