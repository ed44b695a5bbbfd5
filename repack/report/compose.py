"""The account of a release: everything its report says, from what the build has in hand."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, ClassVar, Final

from msgspec import Struct

from repack.conda.dependencies import dependency_chains, dependency_graph, dependency_name
from repack.conda.spdx import Licence, judge_licence
from repack.display import shown
from repack.report.changes import compare
from repack.report.document import Check, PastRelease, Report, ReportPackage, ReportPlatform
from repack.structs import Value
from repack.urls import redact_text, redact_url
from repack.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repack.channel.contents import ChannelContents, ChannelPackage
    from repack.channel.manifest import Release
    from repack.conda.record import Record
    from repack.conda.spdx import LicencePolicy
    from repack.label.label import Label
    from repack.report.document import Difference, Kind, ReportBundle, ReportSignature
    from repack.solve.solution import How, SolveRequest

_RELEASES: Final = 40  # in the chart
# A lock that was kept says the same as one that was made: a rebuild from it gives the same bytes.
_SOLVED: Final = "they satisfy the label on every machine of the target profile; fixed in the lock"
_HOW: Final[Mapping[How, str]] = {
    "kept": _SOLVED,
    "solved": _SOLVED,
    "harvested": "exactly those of a prepared environment; fixed in the lock",
}


class EarlierReleases(Struct, frozen=True):
    """What the report needs of the releases before.

    Attributes:
        release: the one to compare with; None for the first.
        records: its packages.
        releases: rows of the chart so far.
        kept: how many releases' packages were compared for names with other contents.
    """

    release: int | None = None
    records: tuple[Record, ...] = ()
    releases: tuple[PastRelease, ...] = ()
    kept: int = 0


class ReportSubject(Value, frozen=True):
    """The release that is accounted for.

    Attributes:
        own: names of the packages that repack makes for the label.
        hotfixes: path -> fields in which upstream's record differs from the archive.
        modes: per subdir how it is going to be proved.
        whole: how many archives are read to the last byte.
        older: says whether the first of two versions is older.
        secrets: what the build used; hidden in texts that people wrote.
    """

    hidden_fields: ClassVar = (
        "older",
        "secrets",
    )

    label: Label
    release: Release
    shipment: ChannelContents
    requests: Mapping[str, SolveRequest]
    how: How
    signature: ReportSignature
    own: frozenset[str]
    hotfixes: Mapping[str, tuple[str, ...]]
    modes: Mapping[str, str]
    whole: int
    bundles: tuple[ReportBundle, ...]
    warnings: tuple[str, ...]
    older: Callable[[str, str], bool]
    secrets: frozenset[str] = frozenset()

    def hidden(self, text: str) -> str:
        """``text`` without secrets, short enough for the page."""
        return shown(redact_text(text, self.secrets), 500)


def compose_report(subject: ReportSubject, before: EarlierReleases) -> Report:
    """All that the report says."""
    label, release = subject.label, subject.release
    changes = _changes(subject, before)
    ways, depends = _ways(subject)
    status = _status(changes, subject)
    packages = tuple(
        _package(item, ways[path], depends[path], status.get(path, ""), subject)
        for path, item in subject.shipment.items.items()
    )
    known = {record.sha256 for record in before.records}
    new = sum(one.size for one in packages if one.sha256 not in known)
    current = PastRelease(
        release.number, release.generated_at, len(packages), sum(p.size for p in packages), new
    )
    earlier = [row for row in before.releases if row.release != release.number]
    return Report(
        repack=__version__,
        label=release.label,
        description=subject.hidden(label.description),
        release=release.number,
        date=release.generated_at,
        platforms=tuple(_platform(subdir, subject) for subdir in sorted(subject.requests)),
        signature=subject.signature,
        channels=tuple(redact_url(url) for url in label.channels),
        health_check=tuple(map(subject.hidden, label.health_check)),
        after_install=label.after_install,
        policy=policy_words(label.licences, strict=label.strict),
        packages=packages,
        bundles=subject.bundles,
        since=before.release,
        changes=changes,
        releases=(*earlier, current)[-_RELEASES:],
        checks=_checks(subject, before, packages),
        warnings=tuple(map(subject.hidden, subject.warnings)),
        new_bytes=new,
    )


def policy_words(policy: LicencePolicy, *, strict: bool = False) -> tuple[str, ...]:
    """A label's licence policy; empty when it has none, so that every licence is taken."""
    denied = (f"denied: {', '.join(policy.deny)}",) if policy.deny else ()
    closed = policy.unknown == "deny" or strict
    return (*denied, "denied: missing and unknown licences") if closed else denied


def licence_of(item: ChannelPackage) -> str:
    """The licence in the record, which upstream may have mended, or else in the archive."""
    return shown(item.record.raw.get("license") or item.facts.about.licence, 300)


def channel_of(record: Record) -> str:
    """The channel a record comes from, without secrets."""
    return shown(redact_url(record.url).rsplit("/", 2)[0], 300)


def kind_of(record: Record, subject: ReportSubject) -> Kind:
    """Whether a package is upstream's, a bundle, or one that carries the release's number."""
    if record.name not in subject.own or not _is_ours(record, subject):
        return "upstream"
    bundles = {f"{subject.label.name}-{name}" for name in subject.label.bundles}
    return "bundle" if record.name in bundles else "release"


def _is_ours(record: Record, subject: ReportSubject) -> bool:
    # The metapackage may have a namesake upstream; then repack makes none.
    twin = record.name == subject.label.name and record.version != str(subject.release.number)
    return not twin


def _package(
    item: ChannelPackage,
    why: Mapping[str, tuple[str, ...]],
    depends: frozenset[str],
    status: str,
    subject: ReportSubject,
) -> ReportPackage:
    record, facts = item.record, item.facts
    kind = kind_of(record, subject)
    licence: Licence = judge_licence(licence_of(item), subject.label.licences)
    ours = kind != "upstream"
    return ReportPackage(
        path=record.path,
        name=shown(record.name),
        version=shown(record.version, 80),
        build=shown(record.build, 80),
        subdir=record.subdir,
        size=record.size,
        sha256=record.sha256,
        sha384=facts.sha384,
        licence=shown(licence.text, 300),
        licence_verdict="allowed" if ours else licence.verdict,
        licence_is_spdx=licence.is_spdx,
        summary=shown(facts.about.summary, 200),
        home=shown(facts.about.home, 200),
        kind=kind,
        source="" if ours else channel_of(record),
        hotfixed=() if ours else subject.hotfixes.get(record.path, ()),
        scripts=tuple(shown(f"{script.when}: {script.path}") for script in facts.scripts),
        why=why,
        depends=tuple(sorted(depends)),
        status="" if kind == "release" else status,
    )


def _ways(
    subject: ReportSubject,
) -> tuple[dict[str, dict[str, tuple[str, ...]]], dict[str, frozenset[str]]]:
    """Path -> platform -> the chain that leads there; path -> paths of what it depends on."""
    ways: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    depends: dict[str, frozenset[str]] = defaultdict(frozenset)
    for subdir, records in subject.shipment.records_by_subdir.items():
        graph = dependency_graph(records)
        asked = {dependency_name(spec) for spec in subject.requests[subdir].specs}
        chains = dependency_chains(graph, asked | subject.own)
        paths = {record.name.lower(): record.path for record in records}
        for name, path in paths.items():
            ways[path][subdir] = tuple(shown(one) for one in chains.get(name, (name,)))
            depends[path] |= {str(paths[one]) for one in graph[name]}
    return ways, depends


def _changes(subject: ReportSubject, before: EarlierReleases) -> tuple[Difference, ...]:
    if before.release is None:
        return ()
    items = subject.shipment.items.values()
    now = [i.record for i in items if kind_of(i.record, subject) != "release"]
    numbered = {i.record.name for i in items if kind_of(i.record, subject) == "release"}
    was = [record for record in before.records if record.name not in numbered]
    return compare(was, now, subject.older)


def _status(changes: tuple[Difference, ...], subject: ReportSubject) -> dict[str, str]:
    by_name = {
        (change.name, platform): change.step for change in changes for platform in change.platforms
    }
    return {
        path: by_name[key]
        for path, item in subject.shipment.items.items()
        if (key := (shown(item.record.name), item.record.subdir)) in by_name
    }


def _platform(subdir: str, subject: ReportSubject) -> ReportPlatform:
    question, records = subject.requests[subdir], subject.shipment.records_by_subdir[subdir]
    reach = subject.shipment.reach(subdir)
    return ReportPlatform(
        subdir=subdir,
        specs=question.specs if subject.how != "harvested" else (),
        virtual_packages=tuple(
            f"{one.name} {one.build if one.name == '__archspec' else one.version}"
            for one in question.profile.virtual_packages
        ),
        conda=question.profile.conda,
        proof=subject.modes[subdir],
        packages=len(records),
        bytes=sum(record.size for record in records),
        longest_prefix=reach.longest_prefix if reach else None,
    )


def _checks(
    subject: ReportSubject, before: EarlierReleases, packages: tuple[ReportPackage, ...]
) -> tuple[Check, ...]:
    label, when = subject.label, subject.release.generated_at
    count = len(packages)
    unknown = sum(one.licence_verdict == "unknown" for one in packages)
    scripted = sum(bool(one.scripts) for one in packages)
    found = [
        Check("Packages chosen", "passed", _HOW[subject.how], when),
        Check(
            "Archives are upstream's",
            "passed",
            f"SHA-256 and size of {count} archives are those of the records",
            when,
        ),
        Check(
            "Archives are sound",
            "required",
            f"{subject.whole} of {count} are read to the last byte, the others' descriptions; each "
            "must be the package its record names",
            when,
        ),
        Check(
            "A name keeps its content",
            "passed",
            f"no file name of {before.kept} earlier releases came back with other bytes",
            when,
        ),
        Check(
            "Licences",
            "noted" if unknown else "passed",
            f"{'; '.join(policy_words(label.licences, strict=label.strict)) or 'no policy'}; "
            f"unknown: {unknown}",
            when,
        ),
        Check(
            "Link scripts",
            "noted" if scripted else "passed",
            f"{scripted} packages run a script when they are linked or unlinked",
            when,
        ),
        Check(
            "No secrets",
            "required",
            "every metadata file and file name is searched for every secret the build used",
            when,
        ),
    ]
    found += [
        Check(
            f"Proof for {subdir}",
            "required",
            _proof(subdir, subject),
            when,
        )
        for subdir in sorted(subject.requests)
    ]
    return tuple(found)


def _proof(subdir: str, subject: ReportSubject) -> str:
    solved = "solved again from this channel alone, which must give exactly these packages"
    if subject.modes[subdir] != "linked":
        return solved
    health = (
        ", and the health check run there without network" if subject.label.health_check else ""
    )
    return f"{solved}; then all of them are installed into a scratch environment{health}"
