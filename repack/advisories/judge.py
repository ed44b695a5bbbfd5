"""Hold packages against advisories."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from repack.advisories.document import Finding, Judgement
from repack.advisories.osv import hit_by
from repack.advisories.policy import LEVELS
from repack.conda.pypi_names import Distribution, distributions_of_fields, normalized

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from repack.advisories.document import DatabaseInfo
    from repack.advisories.osv import Advisory, Hit
    from repack.advisories.policy import AdvisoryPolicy

# Whoever reads of a vulnerability looks for the first of these that it has.
_FIRST: Final = ("CVE-", "GHSA-", "PYSEC-")
Key = tuple[str, str]


class Subject(Struct, frozen=True):
    """A package that is judged.

    Attributes:
        distributions: what PyPI is known to call it.
        namesake: where nothing is known of a package that needs python: the distribution that is
            called alike. What is said of it is told; that nothing is said proves nothing.
    """

    path: str
    name: str
    version: str
    distributions: tuple[Distribution, ...] = ()
    namesake: Distribution | None = None

    @classmethod
    def of_fields(cls, path: str, fields: Mapping[str, Any]) -> Subject:
        """A package by the fields of its record, in a repodata or in ``conda-meta``."""
        name, version = str(fields.get("name", "")), str(fields.get("version", ""))
        known = distributions_of_fields(fields, name, version)
        depends = fields.get("depends")
        needs_python = isinstance(depends, list | tuple) and any(
            str(spec).partition(" ")[0] == "python" for spec in depends
        )
        has_namesake = not known and needs_python
        namesake = Distribution(normalized(name), version) if has_namesake else None
        return cls(path, name, version, known, namesake)

    @property
    def keys(self) -> tuple[Key, ...]:
        """What advisories on it are filed under."""
        names = [distribution.name for distribution in self.distributions]
        names += [self.namesake.name] if self.namesake else []
        return (*(("pypi", name) for name in names), ("conda", self.name.lower()))


class Request(Struct, frozen=True):
    """By what packages are judged.

    Attributes:
        day: the acceptances of which hold that end on it or later.
    """

    database: DatabaseInfo
    policy: AdvisoryPolicy
    day: dt.date


def judge(
    subjects: Sequence[Subject], advisories: Iterable[Advisory], request: Request
) -> Judgement:
    """What ``advisories`` say of ``subjects``."""
    by_key: dict[Key, list[Advisory]] = defaultdict(list)
    for advisory in advisories:
        by_key[advisory.ecosystem, advisory.name].append(advisory)
    findings, unknown = [], []
    ended: dict[str, None] = {}
    for subject in subjects:
        hits, is_judged = _hits(subject, by_key)
        if not is_judged:
            unknown.append(subject.path)
        for group in _groups(hits):
            finding = _finding(subject, group)
            acceptance = request.policy.acceptance(finding.names)
            if acceptance is not None and acceptance.until >= request.day:
                finding = _accepted(finding, acceptance.until.isoformat(), acceptance.why)
            elif acceptance is not None:
                ended[f"{acceptance.id} was accepted until {acceptance.until}"] = None
            findings.append(finding)
    order = {level: -number for number, level in enumerate(LEVELS)}
    findings.sort(
        key=lambda f: (bool(f.accepted_until), order[f.severity], f.name, f.id, f.package)
    )
    rows = {(a.ecosystem, a.name, a.id): a for group in by_key.values() for a in group}
    return Judgement(
        database=request.database,
        policy=request.policy.in_words(),
        packages=len(subjects),
        unknown=tuple(sorted(unknown)),
        findings=tuple(findings),
        ended=tuple(ended),
        advisories=tuple(rows[key] for key in sorted(rows)),
        covers=tuple(sorted({":".join(key) for subject in subjects for key in subject.keys})),
        rules=replace(request.policy, source=""),
    )


class _Found(Struct, frozen=True):
    advisory: Advisory
    hit: Hit
    known_as: str
    by_name: bool = False


def _hits(subject: Subject, by_key: Mapping[Key, Sequence[Advisory]]) -> tuple[list[_Found], bool]:
    """What concerns a package, and whether its other versions' advisories would have been seen.

    A vendor's own advisory on a conda package does not make it known.
    """
    found: list[_Found] = []
    is_judged = bool(subject.distributions)
    names = [(d, False) for d in subject.distributions]
    names += [(subject.namesake, True)] if subject.namesake else []
    for distribution, by_name in names:
        for advisory in by_key.get(("pypi", distribution.name), ()):
            try:
                hit = hit_by(advisory, distribution.version)
            except ValueError:
                is_judged = False  # no version of PyPI's; its ranges say nothing
                break
            if hit is not None:
                found.append(_Found(advisory, hit, distribution.url, by_name))
    for advisory in by_key.get(("conda", subject.name.lower()), ()):
        try:
            hit = hit_by(advisory, subject.version)
        except ValueError:
            continue
        if hit is not None:
            found.append(_Found(advisory, hit, f"pkg:conda/{subject.name.lower()}"))
    return found, is_judged


def _groups(found: Sequence[_Found]) -> Iterator[list[_Found]]:
    """Those that are one vulnerability by their aliases, together."""
    groups: list[tuple[set[str], list[_Found]]] = []
    for row in found:
        names, members = set(row.advisory.names), [row]
        for group in [group for group in groups if group[0] & names]:
            groups.remove(group)
            names |= group[0]
            members = [*group[1], *members]
        groups.append((names, members))
    return (members for _, members in groups)


def _finding(subject: Subject, group: Sequence[_Found]) -> Finding:
    names = sorted({name for row in group for name in row.advisory.names}, key=_rank)
    fixes = [row.hit.fixed for row in group if row.hit.fixed]
    return Finding(
        package=subject.path,
        name=subject.name,
        version=subject.version,
        known_as=group[0].known_as,
        id=names[0],
        aliases=tuple(names[1:]),
        severity=max((row.advisory.severity for row in group), key=LEVELS.index),
        summary=next((row.advisory.summary for row in group if row.advisory.summary), ""),
        fixed=fixes[0] if fixes else "",
        by_name=all(row.by_name for row in group),
    )


def _accepted(finding: Finding, until: str, why: str) -> Finding:
    return replace(finding, accepted_until=until, why_accepted=why)


def _rank(name: str) -> tuple[int, str]:
    place = next((n for n, start in enumerate(_FIRST) if name.startswith(start)), len(_FIRST))
    return place, name
