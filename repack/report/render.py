"""Report: the page, the data behind it and the bill of materials of a release.

The page is one file. It asks nobody for anything, and says so in its content security policy, which
names its own style and script by hash; so no text that comes from a package can become either.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from importlib import resources
from typing import TYPE_CHECKING

from msgspec import Struct

from repack.advisories.document import ADVISORIES_PATH, Judgement
from repack.errors import UsageError
from repack.fs import atomic
from repack.report.charts import HEIGHT, STEP, bars, layout
from repack.report.document import MAX_BYTES, REPORT_DATA, REPORT_PAGE, REPORT_SBOM, Report
from repack.report.html import render
from repack.report.sbom import cyclonedx, spdx, table

if TYPE_CHECKING:
    from pathlib import Path

    from repack.advisories.document import Finding
    from repack.channel.folder import Channels
    from repack.names import LabelName, RelPath
    from repack.report.document import ReportPackage


def render_report(report: Report) -> dict[RelPath, bytes]:
    """The files of the report, by path in the channel."""
    return {
        REPORT_PAGE: page(report),
        REPORT_DATA: report.to_bytes(),
        REPORT_SBOM: cyclonedx(report),
    }


def page(report: Report) -> bytes:
    """``index.html``."""
    verify_py = resources.files("repack.shipped").joinpath("verify.py").read_bytes()
    return render(
        "report.html.j2",
        "report.js",
        report=report,
        verifier=hashlib.sha256(verify_py).hexdigest(),
        licences=_licences(report),
        tiles=[
            (tile, None if tile.index is None else report.packages[tile.index])
            for tile in layout([package.size for package in report.packages])
        ],
        bars=bars(report.releases),
        bar_step=STEP,
        bar_height=HEIGHT,
        findings=_findings(report),
    )


def _findings(report: Report) -> dict[str, list[Finding]]:
    """The vulnerabilities that the label does not accept, by package."""
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.advisories.open if report.advisories else ():
        groups[finding.package].append(finding)
    return groups


class LicenceRow(Struct, frozen=True):
    """One licence and who has it."""

    text: str
    verdict: str
    names: tuple[str, ...]
    bytes: int


def _licences(report: Report) -> list[LicenceRow]:
    groups: dict[tuple[str, str], list[ReportPackage]] = defaultdict(list)
    for package in report.packages:
        groups[package.licence, package.licence_verdict].append(package)
    rows = [
        LicenceRow(
            text, verdict, tuple(sorted({p.name for p in group})), sum(p.size for p in group)
        )
        for (text, verdict), group in groups.items()
    ]
    return sorted(rows, key=lambda row: (row.verdict == "allowed", -len(row.names), row.text))


def page_of(channels: Channels, label: LabelName, release: int | None) -> Path:
    """Where the page of a release lies; of the published one when ``release`` is None.

    Raises:
        UsageError: that release has no report, or is not kept.
    """
    page = _folder(channels, label, release) / REPORT_PAGE
    if not page.is_file():
        kept = ", ".join(map(str, channels.releases(label))) or "none"
        raise UsageError(
            "there is no report of that release",
            where=page,
            expected=f"one of the releases kept: {kept}",
            hint=f"build the label: repack label {label}",
        )
    return page


def document(channels: Channels, label: LabelName, release: int | None, form: str) -> bytes:
    """The report of a release as ``html``, ``json``, ``md``, ``cyclonedx``, ``spdx`` or ``csv``.

    What the release carries is handed out as it was signed; the others are made of it.

    Raises:
        IntegrityError: the report is damaged.
        PlaceError: it cannot be read.
    """
    folder = _folder(channels, label, release)
    carried = {"html": REPORT_PAGE, "json": REPORT_DATA, "cyclonedx": REPORT_SBOM}
    if form in carried:
        return atomic.read(folder / carried[form], MAX_BYTES)
    report = Report.parse(atomic.read(folder / REPORT_DATA, MAX_BYTES), folder / REPORT_DATA)
    if form == "md":
        from repack.report.text import markdown

        return markdown(report)
    return table(report) if form == "csv" else spdx(report)


def read_report(channels: Channels, label: LabelName, release: int | None) -> Report:
    """The report of a release; raises as :func:`page_of` and :func:`document` do."""
    page_of(channels, label, release)
    return Report.parse(document(channels, label, release, "json"), REPORT_DATA)


def read_judgement(channels: Channels, label: LabelName, release: int | None) -> Judgement:
    """What the database of advisories said when a release was built.

    Raises:
        UsageError: that release is not kept, or was not judged.
        IntegrityError: the file is damaged.
        PlaceError: it cannot be read.
    """
    page_of(channels, label, release)
    path = _folder(channels, label, release) / ADVISORIES_PATH
    if not path.is_file():
        raise UsageError(
            "the release was not judged by advisories",
            where=path,
            hint="say in the label: advisories: {source: FILE}; then build it",
        )
    return Judgement.parse(atomic.read(path, MAX_BYTES), path)


def _folder(channels: Channels, label: LabelName, release: int | None) -> Path:
    if release is None:
        return channels.published(label)
    return channels.history(label) / str(release)
