"""What a label says about advisories."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final, Literal

from repack.codec.decode import Document

if TYPE_CHECKING:
    from collections.abc import Iterable

Severity = Literal["unknown", "low", "medium", "high", "critical"]
DeniedFrom = Literal["low", "medium", "high", "critical"]
LEVELS: Final[tuple[Severity, ...]] = ("unknown", "low", "medium", "high", "critical")
DEFAULT_AGE: Final = 7


class Acceptance(Document, frozen=True):
    """An advisory that the label accepts, up to the end of a day."""

    id: str
    until: dt.date
    why: str


class AdvisoryPolicy(Document, frozen=True):
    """Which database judges a label's packages, and what is refused.

    Attributes:
        source: a zip, a folder or a JSON file of OSV, absolute; empty: nothing is judged.
        max_age: days; an older database is told.
        deny: this severity and graver ones fail the build.
    """

    source: str = ""
    max_age: int = DEFAULT_AGE
    deny: DeniedFrom | None = None
    accept: tuple[Acceptance, ...] = ()

    def denies(self, severity: Severity) -> bool:
        """Whether a vulnerability as grave as this fails the build."""
        return self.deny is not None and LEVELS.index(severity) >= LEVELS.index(self.deny)

    def acceptance(self, ids: Iterable[str]) -> Acceptance | None:
        """What the label says of an advisory with these names; the last to end counts."""
        names = {name.upper() for name in ids}
        rows = [row for row in self.accept if row.id.upper() in names]
        return max(rows, key=lambda row: row.until, default=None)

    def in_words(self) -> str:
        """For reports."""
        denied = f"{self.deny} and graver are denied" if self.deny else "none is denied"
        return f"{denied}; the database may be {self.max_age} days old"
