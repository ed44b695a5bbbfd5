"""What a database says of a release, as it is carried in the channel and shown in reports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from repack.advisories.osv import Advisory
from repack.advisories.policy import LEVELS, AdvisoryPolicy, Severity
from repack.codec.canonical import encode_rows, loads
from repack.codec.decode import Document, decode, encode
from repack.errors import IntegrityError
from repack.names import RelPath
from repack.timestamps import read_time

if TYPE_CHECKING:
    from collections.abc import Iterator

ADVISORIES_PATH: Final = RelPath("repack/advisories.json")
MAX_BYTES: Final = 256 << 20
_FORMAT: Final = "repack-advisories-1"


class DatabaseInfo(Document, frozen=True):
    """A database.

    Attributes:
        source: the name of its file.
        date: when its newest entry was modified, UTC; empty where none says.
    """

    source: str
    sha256: str
    date: str
    entries: int

    def age(self, now: datetime) -> int | None:
        """Whole days since its newest entry; negative for one from the future."""
        moment = read_time(self.date)
        return None if moment is None else (now.astimezone(UTC) - moment).days

    def age_fault(self, now: datetime, max_age: int) -> str | None:
        """What is wrong with its age, for people."""
        age = self.age(now)
        if age is None:
            return f"database {self.source} does not say how old it is"
        if age < -1:
            return f"database {self.source} is dated {self.date}, which is to come"
        if age > max_age:
            return f"database {self.source} is {age} days old, more than {max_age}"
        return None


class Finding(Document, frozen=True):
    """A vulnerability of one package.

    Attributes:
        package: its path in the channel.
        known_as: the package URL by which it was found.
        id: the identifier that people use most; ``aliases`` are the others.
        fixed: the first version without it; empty when there is none.
        by_name: nothing says that the package is this distribution but its name.
        accepted_until: the label accepts it up to this day; empty: it does not.
        why_accepted: in the label's words.
    """

    package: str
    name: str
    version: str
    known_as: str
    id: str
    aliases: tuple[str, ...] = ()
    severity: Severity = "unknown"
    summary: str = ""
    fixed: str = ""
    by_name: bool = False
    accepted_until: str = ""
    why_accepted: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything it is called."""
        return (self.id, *self.aliases)

    @property
    def line(self) -> str:
        """For people."""
        fix = f"fixed in {self.fixed}" if self.fixed else "no fixed version"
        accepted = f"; accepted until {self.accepted_until}" if self.accepted_until else ""
        return f"{self.id} ({self.severity}): {self.name} {self.version}, {fix}{accepted}"


class Judgement(Document, frozen=True):
    """What a database says of a set of packages.

    Attributes:
        packages: how many were looked at.
        unknown: paths of those for which no name is known: nobody can say that they are clean.
        findings: the gravest first.
        ended: acceptances of the label that are past, and would be needed.
        advisories: everything that the database says of packages of these names, in whatever
            version, so that others can be judged by it.
        covers: the names that it was asked about, as ``ecosystem:name``.
        rules: the label's, without the place of the database.
    """

    database: DatabaseInfo
    policy: str
    packages: int
    unknown: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    ended: tuple[str, ...] = ()
    advisories: tuple[Advisory, ...] = ()
    covers: tuple[str, ...] = ()
    rules: AdvisoryPolicy = AdvisoryPolicy()

    @property
    def open(self) -> tuple[Finding, ...]:
        """The findings that the label does not accept."""
        return tuple(finding for finding in self.findings if not finding.accepted_until)

    @property
    def worst(self) -> Severity:
        """The gravest severity of what is open."""
        return max((f.severity for f in self.open), key=LEVELS.index, default="unknown")

    def summary(self) -> str:
        """One line."""
        packages = {finding.package for finding in self.open}
        state = f"{len(packages)} of {self.packages} packages have known vulnerabilities"
        worst = f", the gravest {self.worst}" if packages else ""
        return f"{state}{worst}; {len(self.unknown)} are unknown to advisories"

    def lines(self) -> Iterator[str]:
        """For people."""
        database = self.database
        yield self.summary()
        yield f"  database {database.source} of {database.date or 'no date'}: {database.sha256}"
        for finding in self.findings:
            yield f"  {finding.line}"
            if finding.summary:
                yield f"    {finding.summary}"

    def to_bytes(self) -> bytes:
        """The file."""
        return encode_rows({"format": _FORMAT, **encode(self)})

    @classmethod
    def parse(cls, data: bytes, where: object) -> Judgement:
        """Read the file.

        Raises:
            IntegrityError: it is none, or one of another format.
        """
        document = loads(data, where, MAX_BYTES)
        kind = document.get("format") if isinstance(document, dict) else None
        if kind != _FORMAT:
            raise IntegrityError("no advisories", where=where, expected=_FORMAT, got=kind)
        return decode(cls, document, where, "advisories")
