"""A release in the terminal and as Markdown: what is in it, what needs what, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.codec.schema import suggest
from repack.display import amount, counted
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from repack.report.document import Report, ReportPackage

_TRUST: Final = {
    "unsigned": "unsigned",
    "development": "development keys",
    "shared": "the shared key",
    "own": "the label's own keys",
}


def show_lines(report: Report) -> Iterator[str]:
    """The release in short, then its packages."""
    yield f"{report.label}: release {report.release}, {report.date}"
    if report.description:
        yield f"  {report.description}"
    yield f"  signed    {_TRUST[report.signature.trust]}"
    for channel in report.channels:
        yield f"  channel   {channel}"
    for platform in report.platforms:
        size = f"{counted(platform.packages, 'package')}, {amount(platform.bytes)}"
        yield f"  {platform.subdir:<9} {size}, proved: {platform.proof}"
        yield f"            {', '.join(platform.virtual_packages)}"
    if report.health_check:
        yield f"  health    {' '.join(report.health_check)}"
    rows = [("package", "version", "build", "size", "licence")]
    rows += [
        (p.name, p.version, f"{p.subdir}/{p.build}", amount(p.size), p.licence or "unknown")
        for p in sorted(report.packages, key=lambda p: (p.name, p.subdir))
    ]
    yield from _columns(rows)
    yield from (f"  warning: {warning}" for warning in report.warnings)


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def packages_of(report: Report, subdir: str) -> dict[str, ReportPackage]:
    """The packages of a platform by path, ``noarch`` ones included."""
    return {
        p.path: p for p in report.packages if p.subdir in (subdir, "noarch") and subdir in p.why
    }


def tree_lines(report: Report, subdirs: Iterable[str]) -> Iterator[str]:
    """What depends on what, per platform; a package's own tree is drawn once."""
    for subdir in subdirs:
        packages = packages_of(report, subdir)
        roots = [path for path, p in packages.items() if len(p.why[subdir]) == 1]
        yield f"{report.label} {report.release}, {subdir}"
        drawn: set[str] = set()
        for path in sorted(roots, key=lambda path: packages[path].kind == "release"):
            yield from _branch(path, packages, drawn, "")
    yield "(*) its dependencies stand above"


def _branch(
    path: str, packages: dict[str, ReportPackage], drawn: set[str], indent: str
) -> Iterator[str]:
    package = packages[path]
    needs = sorted(needed for needed in package.depends if needed in packages)
    mark = " (*)" if path in drawn and needs else ""
    yield f"{indent}{package.name} {package.version}{mark}"
    if path in drawn:
        return
    drawn.add(path)
    last = len(needs) - 1
    for number, needed in enumerate(needs):
        lines = list(_branch(needed, packages, drawn, ""))
        yield f"{indent}{'└─' if number == last else '├─'} {lines[0]}"
        yield from (f"{indent}{'  ' if number == last else '│ '} {line}" for line in lines[1:])


def chains_to(report: Report, name: str) -> dict[str, tuple[str, ...]]:
    """Per platform the names from a package that was asked for to ``name``.

    Raises:
        UsageError: there is no such package in the release.
    """
    matching = [package for package in report.packages if package.name == name.lower()]
    if not matching:
        names = {package.name for package in report.packages}
        raise UsageError(
            f"release {report.release} of {report.label} has no package {name[:60]!r}",
            hint=suggest(name, names) or f"see what it has: repack show {report.label}",
        )
    return {subdir: chain for package in matching for subdir, chain in package.why.items()}


def why_lines(report: Report, name: str) -> Iterator[str]:
    """What leads to a package, and what needs it; raises as :func:`chains_to` does."""
    for subdir, chain in sorted(chains_to(report, name).items()):
        packages = packages_of(report, subdir)
        package = next(p for p in packages.values() if p.name == name.lower())
        yield f"{subdir}: {package.name} {package.version} {package.build}"
        asked = "is asked for by the label" if len(chain) == 1 else " -> ".join(chain)
        yield f"  {asked}"
        users = sorted(p.name for p in packages.values() if package.path in p.depends)
        if users:
            yield f"  needed by {', '.join(users)}"


def markdown(report: Report) -> bytes:
    """The report for a wiki or a ticket."""
    lines = [
        f"# {_cell(report.label)}, release {report.release}",
        "",
        *([_cell(report.description), ""] if report.description else []),
        f"Built {report.date} by repack {report.repack}; signed: {_TRUST[report.signature.trust]}.",
        "",
        "| platform | packages | size | proof | target has |",
        "|---|---:|---:|---|---|",
        *(
            f"| {p.subdir} | {p.packages} | {amount(p.bytes)} | {p.proof}"
            f" | {_cell(', '.join(p.virtual_packages))} |"
            for p in report.platforms
        ),
        "",
    ]
    if report.changes:
        lines += [
            f"## Since release {report.since}",
            "",
            "| package | change | before | after | platforms |",
            "|---|---|---|---|---|",
            *(
                f"| {_cell(c.name)} | {c.step} | {_cell(c.before)} | {_cell(c.after)}"
                f" | {', '.join(c.platforms)} |"
                for c in report.changes
            ),
            "",
        ]
    if report.warnings:
        lines += ["## Warnings", "", *(f"- {_cell(text)}" for text in report.warnings), ""]
    lines += [
        "## Checks",
        "",
        "| check | result | what it says |",
        "|---|---|---|",
        *(f"| {_cell(c.what)} | {c.result} | {_cell(c.detail)} |" for c in report.checks),
        "",
        "## Packages",
        "",
        "| package | version | build | platform | size | licence | SHA-256 |",
        "|---|---|---|---|---:|---|---|",
        *(
            f"| {_cell(p.name)} | {_cell(p.version)} | {_cell(p.build)} | {p.subdir}"
            f" | {amount(p.size)} | {_cell(p.licence or 'unknown')} | `{p.sha256}` |"
            for p in report.packages
        ),
        "",
    ]
    return "\n".join(lines).encode()


def _cell(text: str) -> str:
    """``text`` as plain text in a table: no link, no HTML, no cell of its own."""
    for sign in "\\`*_[]<>|#&":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")
