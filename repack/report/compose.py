"""Compose the report of a release from the values that the build has."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, cast

from msgspec import Struct
from msgspec.structs import replace

from repack.conda.dependencies import dependency_chains, dependency_graph, dependency_name
from repack.conda.pypi_names import package_urls
from repack.conda.rattler import is_older
from repack.conda.spdx import judge_licence
from repack.display import shown
from repack.label.label import package_names
from repack.report.changes import compare, licence_of
from repack.report.document import (
    Check,
    PastRelease,
    Report,
    ReportPackage,
    ReportPlatform,
    ReportSignature,
)
from repack.report.history import find_hotfixes
from repack.report.settings import compare_settings, describe_settings, files_of_bundles
from repack.urls import redact_text, redact_url
from repack.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.advisories.document import Judgement
    from repack.channel.contents import ChannelContents, ChannelPackage
    from repack.channel.manifest import Release
    from repack.conda.record import Record
    from repack.label.label import Label
    from repack.names import RelPath
    from repack.report.document import Difference, Kind, ReportBundle, Result
    from repack.report.history import EarlierReleases
    from repack.solve.solution import How, Solution
    from repack.trust.sign import Signing

_RELEASES: Final = 40  # in the chart
# A lock that was kept says the same as one that was made: a rebuild from it gives the same bytes.
_SOLVED: Final = "they satisfy the label on every machine of the target profile; fixed in the lock"
_HOW: Final[Mapping[How, str]] = {
    "kept": _SOLVED,
    "solved": _SOLVED,
    "harvested": "exactly those of a prepared environment; fixed in the lock",
}


class ReportSubject(Struct, frozen=True):
    """The release that is reported, in the values that the build has.

    Attributes:
        solution: what was asked for, and how the answer came about.
        texts: the channel's metadata files so far, by path.
        read_whole: how many archives are read to the last byte before anything is published.
    """

    label: Label
    release: Release
    contents: ChannelContents
    solution: Solution
    signing: Signing
    texts: Mapping[RelPath, bytes]
    bundles: tuple[ReportBundle, ...]
    read_whole: int
    warnings: tuple[str, ...]
    judgement: Judgement | None = None

    @property
    def own(self) -> frozenset[str]:
        """The names of the packages that repack makes for the label."""
        return package_names(self.label)

    @property
    def modes(self) -> Mapping[str, str]:
        """Per subdir how it is going to be proved."""
        return cast("Mapping[str, str]", self.release.facts["proof"])

    def cleaned(self, text: str) -> str:
        """``text``, which a person wrote, without secrets and short enough for the page."""
        secrets = self.label.secrets | self.solution.secrets | self.signing.secrets
        return shown(redact_text(text, secrets), 500)


def compose_report(subject: ReportSubject, earlier: EarlierReleases) -> Report:
    """All that the report says."""
    label, release = subject.label, subject.release
    changes = _changes(subject, earlier)
    chains, depends = _chains_and_dependencies(subject)
    hotfixes = find_hotfixes(subject.texts)
    status = _status(changes, subject)
    packages = tuple(
        replace(
            _package(item, hotfixes.get(path, ()), subject),
            why=chains[path],
            depends=tuple(sorted(depends[path])),
            status="" if kind_of(item.record, subject) == "release" else status.get(path, ""),
        )
        for path, item in subject.contents.items.items()
    )
    old_digests = {record.sha256 for record in earlier.records}
    new_bytes = sum(p.size for p in packages if p.sha256 not in old_digests)
    current = PastRelease(
        release.number,
        release.generated_at,
        len(packages),
        sum(p.size for p in packages),
        new_bytes,
    )
    settings = describe_settings(
        label,
        subject.solution.requests,
        subject.signing,
        subject.modes,
        files_of_bundles(subject.bundles),
    )
    past = [row for row in earlier.releases if row.release != release.number]
    return Report(
        repack=__version__,
        label=release.label,
        description=subject.cleaned(label.description),
        release=release.number,
        date=release.generated_at,
        platforms=tuple(_platform(subdir, subject) for subdir in sorted(subject.solution.requests)),
        signature=_signature(subject.signing),
        channels=tuple(redact_url(url) for url in label.channels),
        health_check=tuple(map(subject.cleaned, label.health_check)),
        after_install=label.after_install,
        after_bundles=label.after_bundles or label.after_install,
        policy=label.licences.in_words(strict=label.strict),
        packages=packages,
        bundles=subject.bundles,
        since=earlier.release,
        changes=changes,
        releases=(*past, current)[-_RELEASES:],
        checks=_checks(subject, earlier.kept, packages),
        warnings=tuple(map(subject.cleaned, subject.warnings)),
        new_bytes=new_bytes,
        # What it says of other versions stands in a file of its own.
        advisories=subject.judgement and replace(subject.judgement, advisories=(), covers=()),
        settings=settings,
        setting_changes=compare_settings(earlier.settings, settings),
    )


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
    return record.name != subject.label.name or record.version == str(subject.release.number)


def _package(
    item: ChannelPackage, hotfixed: tuple[str, ...], subject: ReportSubject
) -> ReportPackage:
    """All of a package but what leads to it, what it depends on, and how it differs from before."""
    record, facts = item.record, item.facts
    kind = kind_of(record, subject)
    licence_text = licence_of(record, facts.about.licence)
    licence = judge_licence(licence_text, subject.label.licences)
    is_own = kind != "upstream"
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
        licence_verdict="allowed" if is_own else licence.verdict,
        licence_is_spdx=licence.is_spdx,
        summary=shown(facts.about.summary, 200),
        home=shown(facts.about.home, 200),
        kind=kind,
        source="" if is_own else channel_of(record),
        hotfixed=() if is_own else hotfixed,
        scripts=tuple(shown(f"{script.when}: {script.path}") for script in facts.scripts),
        why={},
        depends=(),
        purls=() if is_own else package_urls(record),
    )


def _signature(signing: Signing) -> ReportSignature:
    hmac = ""
    if signing.hmac is not None:
        key_id = f"{signing.hmac.key_id}, " if signing.hmac.key_id else ""
        hmac = f"{key_id}fingerprint {signing.hmac.fingerprint}"
    if signing.keys is None:
        return ReportSignature("shared" if hmac else "unsigned", hmac)
    keyset = signing.keys.keyset
    keys = tuple(
        f"{name}: {role.threshold} of {', '.join(keyid[:16] for keyid in role.keys)}"
        for name, role in sorted(keyset.roles.items())
    )
    return ReportSignature("development" if keyset.development else "own", hmac, keys)


def _chains_and_dependencies(
    subject: ReportSubject,
) -> tuple[dict[str, dict[str, tuple[str, ...]]], dict[str, frozenset[str]]]:
    """Path -> platform -> the chain that leads there; path -> paths of what it depends on."""
    chains: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    depends: dict[str, frozenset[str]] = defaultdict(frozenset)
    for subdir, records in subject.contents.records_by_subdir.items():
        graph = dependency_graph(records)
        requested = {dependency_name(spec) for spec in subject.solution.requests[subdir].specs}
        chain_by_name = dependency_chains(graph, requested | subject.own)
        paths = {record.name.lower(): record.path for record in records}
        for name, path in paths.items():
            chains[path][subdir] = tuple(map(shown, chain_by_name.get(name, (name,))))
            depends[path] |= {str(paths[needed]) for needed in graph[name]}
    return chains, depends


def _changes(subject: ReportSubject, earlier: EarlierReleases) -> tuple[Difference, ...]:
    if earlier.release is None:
        return ()
    records = [package.record for package in subject.contents.items.values()]
    new = [record for record in records if kind_of(record, subject) != "release"]
    numbered = {record.name for record in records if kind_of(record, subject) == "release"}
    old = [record for record in earlier.records if record.name not in numbered]
    return compare(old, new, is_older)


def _status(changes: tuple[Difference, ...], subject: ReportSubject) -> dict[str, str]:
    by_name = {
        (change.name, platform): change.step for change in changes for platform in change.platforms
    }
    return {
        path: by_name[key]
        for path, item in subject.contents.items.items()
        if (key := (shown(item.record.name), item.record.subdir)) in by_name
    }


def _platform(subdir: str, subject: ReportSubject) -> ReportPlatform:
    request = subject.solution.requests[subdir]
    records = subject.contents.records_by_subdir[subdir]
    lengths = subject.contents.reach(subdir)
    return ReportPlatform(
        subdir=subdir,
        specs=request.specs if subject.solution.how != "harvested" else (),
        virtual_packages=tuple(
            f"{package.name} {package.build if package.name == '__archspec' else package.version}"
            for package in request.profile.virtual_packages
        ),
        conda=request.profile.conda,
        proof=subject.modes[subdir],
        packages=len(records),
        bytes=sum(record.size for record in records),
        longest_prefix=lengths.longest_prefix if lengths else None,
    )


def _checks(
    subject: ReportSubject, kept_releases: int, packages: tuple[ReportPackage, ...]
) -> tuple[Check, ...]:
    label, count = subject.label, len(packages)
    unknown = sum(package.licence_verdict == "unknown" for package in packages)
    scripted = sum(bool(package.scripts) for package in packages)
    policy = "; ".join(label.licences.in_words(strict=label.strict)) or "no policy"
    checks: list[tuple[str, Result, str]] = [
        ("Packages chosen", "passed", _HOW[subject.solution.how]),
        (
            "Archives are upstream's",
            "passed",
            f"SHA-256 and size of {count} archives are those of the records",
        ),
        (
            "Archives are sound",
            "required",
            (
                f"{subject.read_whole} of {count} are read to the last byte, the others'"
                " descriptions; each must be the package its record names"
            ),
        ),
        (
            "A name keeps its content",
            "passed",
            f"no file name of {kept_releases} earlier releases came back with other bytes",
        ),
        ("Licences", "noted" if unknown else "passed", f"{policy}; unknown: {unknown}"),
        *_judged(subject),
        (
            "Link scripts",
            "noted" if scripted else "passed",
            f"{scripted} packages run a script when they are linked or unlinked",
        ),
        (
            "No secrets",
            "required",
            "every metadata file and file name is searched for every secret the build used",
        ),
    ]
    checks += [
        (f"Proof for {subdir}", "required", _proof(subdir, subject))
        for subdir in sorted(subject.solution.requests)
    ]
    return tuple(Check(*check, subject.release.generated_at) for check in checks)


def _judged(subject: ReportSubject) -> list[tuple[str, Result, str]]:
    if (judgement := subject.judgement) is None:
        return []
    database = judgement.database
    by = f"by {database.source} of {database.date or 'no date'}, SHA-256 {database.sha256}"
    is_noted = judgement.open or judgement.unknown
    text = f"{judgement.summary()}; {by}; {judgement.policy}"
    return [("Advisories", "noted" if is_noted else "passed", text)]


def _proof(subdir: str, subject: ReportSubject) -> str:
    solved = "solved again from this channel alone, which must give exactly these packages"
    if subject.modes[subdir] != "linked":
        return solved
    health = (
        ", and the health check run there without network" if subject.label.health_check else ""
    )
    return f"{solved}; then all of them are installed into a scratch environment{health}"
