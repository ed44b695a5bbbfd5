"""OSV entries: reading them, and whether a version is affected.

Of an entry, only what it says of PyPI is used, and of ``conda``: an ecosystem that OSV does not have,
by which a vendor writes advisories on packages that have no other name. Each pair of an entry and a
package becomes an :class:`Advisory`.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from repack.advisories.policy import LEVELS, Severity
from repack.advisories.severity import severity_of_vector, severity_of_word
from repack.codec.decode import Document
from repack.conda.pypi_names import normalized
from repack.display import shown
from repack.errors import IntegrityError
from repack.timestamps import read_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from packaging.version import Version

MAX_ENTRY: Final = 16 << 20
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_LONGEST: Final = 200
_FRACTION: Final = re.compile(r"\.\d+")


class Event(Document, frozen=True, omit_defaults=True):
    """A point at which a range begins or ends."""

    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None


class Advisory(Document, frozen=True, omit_defaults=True):
    """What one entry says of one package.

    Attributes:
        ecosystem: ``pypi`` or ``conda``.
        name: the package's, normalized.
        ranges: of versions, each a list of events.
        versions: named one by one.
        unclear: it names versions in a way that cannot be compared, such as commits alone.
    """

    id: str
    ecosystem: str
    name: str
    severity: Severity = "unknown"
    aliases: tuple[str, ...] = ()
    summary: str = ""
    ranges: tuple[tuple[Event, ...], ...] = ()
    versions: tuple[str, ...] = ()
    unclear: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Everything it is called."""
        return (self.id, *self.aliases)


class Hit(msgspec.Struct, frozen=True):
    """A version is affected.

    Attributes:
        fixed: the first version after it that is not; None when there is none.
    """

    fixed: str | None = None


class _Severity(Document, frozen=True):
    type: str
    score: str


class _Package(Document, frozen=True):
    ecosystem: str
    name: str


class _Range(Document, frozen=True):
    type: str
    events: tuple[Event, ...] = ()


class _Affected(Document, frozen=True):
    package: _Package | None = None
    ranges: tuple[_Range, ...] | None = None
    versions: tuple[str, ...] | None = None
    severity: tuple[_Severity, ...] | None = None


class _Entry(Document, frozen=True):
    id: str
    modified: str
    withdrawn: str | None = None
    aliases: tuple[str, ...] | None = None
    summary: str | None = None
    severity: tuple[_Severity, ...] | None = None
    affected: tuple[_Affected, ...] | None = None
    database_specific: Any = None


class OsvEntry(msgspec.Struct, frozen=True):
    """One entry, as far as it is used."""

    modified: datetime | None
    advisories: tuple[Advisory, ...]


@cache
def _decoder() -> msgspec.json.Decoder[_Entry]:
    return msgspec.json.Decoder(_Entry)


def parse_entry(data: bytes, where: str) -> OsvEntry:
    """Read one entry of OSV JSON.

    Args:
        data: its bytes.
        where: the database and the entry in it, for the message.

    Raises:
        IntegrityError: it is none, or says how grave it is in no way that CVSS has.
    """
    if len(data) > MAX_ENTRY:
        raise IntegrityError(
            "an entry of the database is too large", where=where, expected=f"at most {MAX_ENTRY}"
        )
    try:
        entry = _decoder().decode(data)
        moment = read_time(_FRACTION.sub("", entry.modified))
        return OsvEntry(moment, () if entry.withdrawn else tuple(_advisories(entry)))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise IntegrityError(
            "not an entry of OSV", where=where, got=shown(str(error), 200),
            hint="take the database from osv.dev's export anew, or leave this entry out",
        ) from None  # fmt: skip


def _advisories(entry: _Entry) -> Iterator[Advisory]:
    if not _ID.fullmatch(entry.id):
        raise ValueError(f"no identifier: {entry.id[:80]!r}")
    aliases = tuple(sorted(a for a in entry.aliases or () if _ID.fullmatch(a)))
    specific = entry.database_specific
    word = severity_of_word(specific.get("severity") if isinstance(specific, dict) else None)
    for affected in entry.affected or ():
        if (package := affected.package) is None:
            continue
        ecosystem = package.ecosystem.partition(":")[0].lower()
        if ecosystem not in ("pypi", "conda") or len(package.name) > _LONGEST:
            continue
        vectors = (*(affected.severity or ()), *(entry.severity or ()))
        grades = [word, *(severity_of_vector(row.type, row.score) for row in vectors)]
        ranges = tuple(r.events for r in affected.ranges or () if r.type != "GIT" and r.events)
        versions = tuple(affected.versions or ())
        yield Advisory(
            id=entry.id,
            ecosystem=ecosystem,
            name=normalized(package.name) if ecosystem == "pypi" else package.name.lower(),
            severity=max(grades, key=LEVELS.index),
            aliases=aliases,
            summary=shown(entry.summary or "", 200),
            ranges=ranges,
            versions=versions,
            unclear=not ranges and not versions,
        )


def hit_by(advisory: Advisory, version: str) -> Hit | None:
    """Whether ``version`` of the advisory's package is affected.

    What cannot be compared counts as affected: the label can accept what is known to be harmless.

    Raises:
        ValueError: ``version`` itself is no version of that ecosystem.
    """
    order: Callable[[str], Any] = _pypi_order if advisory.ecosystem == "pypi" else _conda_order
    own = order(version)
    if advisory.unclear:
        return Hit()
    for events in advisory.ranges:
        try:
            hit = _in_range(events, own, order)
        except ValueError:
            return Hit()
        if hit is not None:
            return hit
    if any(_is_same(text, own, order) for text in advisory.versions):
        every = (event for events in advisory.ranges for event in events)
        return Hit(_first_fix(every, own, order))
    return None


def _in_range(events: tuple[Event, ...], own: Any, order: Callable[[str], Any]) -> Hit | None:
    """The algorithm of the OSV schema, "Evaluation", for one range."""
    # "0" is before every version, even before 0.dev0.
    is_in = any(event.introduced == "0" for event in events)
    points = [point for event in events for point in _points(event, order)]
    # At one version, an end comes before a beginning: [1, 2) and [2, 3) hold 2.
    points.sort(key=lambda point: point.begins)
    points.sort(key=lambda point: point.at)
    for point in points:
        if point.begins and own >= point.at:
            is_in = True
        elif not point.begins and (own > point.at if point.includes else own >= point.at):
            is_in = False
    return Hit(_first_fix(events, own, order)) if is_in else None


class _Point(msgspec.Struct, frozen=True):
    """Where a range begins or ends, and whether it ends behind that version."""

    at: Any
    begins: bool
    includes: bool = False


def _points(event: Event, order: Callable[[str], Any]) -> Iterator[_Point]:
    if event.introduced not in (None, "0"):
        yield _Point(order(str(event.introduced)), begins=True)
    if event.fixed is not None:
        yield _Point(order(event.fixed), begins=False)
    if event.last_affected is not None:
        yield _Point(order(event.last_affected), begins=False, includes=True)
    if event.limit not in (None, "*"):
        yield _Point(order(str(event.limit)), begins=False)


def _first_fix(events: Iterable[Event], own: Any, order: Callable[[str], Any]) -> str | None:
    """The first fixed version after ``own``."""
    fixes = [(order(event.fixed), event.fixed) for event in events if event.fixed is not None]
    later = [fix for fix in fixes if fix[0] > own]
    return min(later, key=lambda fix: fix[0])[1] if later else None


def _is_same(text: str, own: Any, order: Callable[[str], Any]) -> bool:
    try:
        return bool(order(text) == own)
    except ValueError:
        return False


@lru_cache(1 << 16)
def _pypi_order(text: str) -> Version:
    from packaging.version import Version

    return Version(text)


@lru_cache(1 << 16)
def _conda_order(text: str) -> Any:
    from repack.conda.rattler import version_order

    return version_order(text)
