"""Which releases of which labels an advisory concerns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from repack.advisories.database import open_database
from repack.advisories.document import ADVISORIES_PATH, Judgement
from repack.advisories.judge import Request, Subject, judge
from repack.advisories.policy import AdvisoryPolicy
from repack.channel.layout import MANIFEST
from repack.conda.match_spec import spec_fault
from repack.conda.subdir import package_name
from repack.display import shown
from repack.errors import RepackError, UsageError
from repack.fs import atomic, beneath
from repack.label import files
from repack.names import LabelName
from repack.report.document import REPORT_DATA, Report

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

    from repack.advisories.database import Database
    from repack.advisories.document import Finding
    from repack.advisories.osv import Advisory
    from repack.channel.folder import Channels

State = Literal["affected", "accepted", "not affected", "unknown"]


class ExposureRequest(Struct, frozen=True):
    """What is asked.

    Attributes:
        advisory: any of its names.
        database: judges all labels; None: each label's own, else what its releases carry.
        cache: the folder of indexes.
    """

    advisory: str
    database: Path | None
    labels_dir: Path
    environment: Mapping[str, str]
    cache: Path
    day: dt.date


class Exposure(Struct, frozen=True):
    """One release of one label.

    Attributes:
        published: it is the one that stands now.
        findings: packages that the advisory concerns.
        by: SHA-256 of the database; empty where there is none.
        problem: why nothing is known.
    """

    label: str
    release: int | None
    published: bool
    state: State
    findings: tuple[Finding, ...] = ()
    by: str = ""
    problem: str = ""

    @property
    def line(self) -> str:
        """For people."""
        number = "no release" if self.release is None else f"release {self.release}"
        published = ", published" if self.published else ""
        detail = self.problem or "; ".join(f.line for f in self.findings)
        return f"{self.label} {number}{published}: {self.state}" + (f": {detail}" if detail else "")


def find_exposures(channels: Channels, request: ExposureRequest) -> tuple[Exposure, ...]:
    """What an advisory means for every release that is kept.

    Raises:
        UsageError: the database is missing, or does not have the advisory.
        IntegrityError: it is none, or damaged.
    """
    common = open_database(request.database, request.cache) if request.database else None
    if common is not None and not common.called(request.advisory):
        raise UsageError(
            f"the database has no advisory {request.advisory[:80]!r}",
            where=request.database,
            hint="look for its other names, or bring a newer database",
        )
    names: set[str] = set()
    if channels.root.is_dir():
        with atomic.os_errors_at(channels.root):
            names = {
                entry.name
                for entry in beneath.scan(channels.root)
                if (channels.root / entry.name / MANIFEST).is_file()
            }
    if request.labels_dir.is_dir():
        names |= {str(name) for name in files.names(request.labels_dir)}
    return tuple(
        row for name in sorted(names) for row in _of_label(channels, name, common, request)
    )


def _of_label(
    channels: Channels, name: str, common: Database | None, request: ExposureRequest
) -> Iterator[Exposure]:
    try:
        label = LabelName(name)
        policy, database = AdvisoryPolicy(), common
        if files.has_file(request.labels_dir, name):
            path = files.find(request.labels_dir, name)
            policy = files.load(path, request.environment, spec_fault, "env").advisories
            if database is None and policy.source:
                database = open_database(Path(policy.source), request.cache)
        current = channels.text(label, MANIFEST)
        for number in reversed(channels.releases(label)):
            is_published = channels.remembered(label, number, MANIFEST) == current
            row = _of_release(channels, label, number, (database, policy, request))
            yield Exposure(name, number, is_published, *row)
    except RepackError as error:
        yield Exposure(
            name, None, published=False, state="unknown", problem=shown(error.text(), 300)
        )


def _of_release(
    channels: Channels,
    label: LabelName,
    number: int,
    by: tuple[Database | None, AdvisoryPolicy, ExposureRequest],
) -> tuple[State, tuple[Finding, ...], str, str]:
    """State, findings, database, problem."""
    database, policy, request = by
    where = channels.history(label) / str(number)
    data = channels.remembered(label, number, REPORT_DATA)
    if data is None:
        return "unknown", (), "", "its report is not kept"
    if database is not None:
        info, advisories = database.info, database.called(request.advisory)
    else:
        carried = channels.remembered(label, number, ADVISORIES_PATH)
        if carried is None:
            return "unknown", (), "", "it was not judged, and the label names no database"
        judgement = Judgement.parse(carried, where / ADVISORIES_PATH)
        info, advisories = judgement.database, _called(judgement, request.advisory)
    if not advisories:
        return (
            "unknown",
            (),
            info.sha256,
            f"database {info.source} has no such advisory on its names",
        )
    subjects = _subjects(Report.parse(data, where / REPORT_DATA))
    findings = judge(subjects, advisories, Request(info, policy, request.day)).findings
    accepted = bool(findings) and all(finding.accepted_until for finding in findings)
    state: State = "accepted" if accepted else "affected" if findings else "not affected"
    return state, findings, info.sha256, ""


def _called(judgement: Judgement, name: str) -> tuple[Advisory, ...]:
    wanted = name.upper()
    return tuple(
        row for row in judgement.advisories if wanted in {one.upper() for one in row.names}
    )


def _subjects(report: Report) -> list[Subject]:
    return [
        Subject.of_fields(
            package.path,
            {
                "name": package.name,
                "version": package.version,
                "purls": package.purls,
                "depends": [package_name(path) for path in package.depends],
            },
        )
        for package in report.packages
        if package.kind == "upstream"
    ]
