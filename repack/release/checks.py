"""Checks of a release before it is signed: secrets, scripts, licences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.conda.dependencies import dependency_chains, dependency_graph, dependency_name
from repack.conda.spdx import judge_licence, unknown_identifiers
from repack.display import shown
from repack.errors import IntegrityError, ProofError
from repack.label.label import package_names
from repack.report.watch import kept_report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.channel.contents import ChannelContents
    from repack.channel.folder import Channels
    from repack.label.label import Label
    from repack.names import RelPath
    from repack.release.published import PublishedRelease
    from repack.solve.solution import Solution, SolveRequest

# Shorter words occur by chance; a secret that short protects nothing anyway.
_SHORTEST: Final = 4


def search_secrets(
    texts: Mapping[RelPath, bytes], paths: Iterable[str], secrets: Iterable[str]
) -> None:
    """Search every metadata file and every file name for every secret the build used.

    Raises:
        IntegrityError: one is found. The message names the file, never the secret.
    """
    needles = [secret.encode() for secret in secrets if len(secret) >= _SHORTEST]
    places = [*texts.items(), *((path, path.encode()) for path in paths)]
    for path, data in places:
        if any(needle in data for needle in needles):
            raise IntegrityError(
                "a secret that the build used stands in this file; nothing was published",
                where=path,
                hint="look where the label, a record or a package name holds a token",
            )


def check_locks(solution: Solution, label: Label) -> None:
    """Let no package of a strict label change behind its version.

    Raises:
        IntegrityError: the label is ``strict``, and a package has other content than before, or is
            held by no hash of the lock that the label takes packages from.
    """
    lines = (*solution.replaced, *solution.unheld)
    if lines and label.strict:
        raise IntegrityError(
            f"the label is strict, and {len(lines)} packages are not what its locks hold",
            where=f"label {label.name}",
            got="".join(f"\n    {line}" for line in lines[:20]),
            hint="ask whoever built these packages; take other builds, or drop `strict` to accept",
        )


def check_watch(
    solution: Solution, label: Label, published: PublishedRelease | None, channels: Channels
) -> tuple[str, ...]:
    """What ``repack watch`` last found of the published release, as one line at most.

    Raises:
        ProofError: the label is ``strict``, and a package that upstream withdrew is still taken.
    """
    report = kept_report(channels, label.name, published.release) if published else None
    if report is None or (summary := report.summary()) is None:
        return ()
    taken = {record.path for record in solution.unique_records}
    withdrawn = [found.package for found in report.withdrawn if found.package in taken]
    if withdrawn and label.strict:
        raise ProofError(
            f"the label is strict, and upstream withdrew {len(withdrawn)} of its packages",
            where=f"label {label.name}",
            got="".join(f"\n    {shown(path)}" for path in withdrawn[:20]),
            hint="repack label --update takes others; drop `strict` to keep these",
        )
    return (summary,)


def check_scripts(contents: ChannelContents, label: Label) -> tuple[str, ...]:
    """What a release engineer should know of the packages, a line each.

    Raises:
        ProofError: there is something, and the label is ``strict``.
    """
    lines = []
    for path, item in contents.items.items():
        for script in item.facts.scripts:
            urls = f", which names {', '.join(script.urls)}" if script.urls else ""
            lines.append(f"{path}: runs {script.path} at {script.when}{urls}")
        if item.record.subdir.startswith("win-"):
            lines += [f"{path}: Windows cannot hold {name}" for name in item.facts.windows_faults]
    if lines and label.strict:
        raise ProofError(
            f"the label is strict and {len(lines)} packages give cause for concern",
            got="".join(f"\n    {line}" for line in lines[:20]),
            hint="take other builds of these packages, or drop `strict` from the label",
        )
    return tuple(lines)


def chains_by_subdir(
    contents: ChannelContents, requests: Mapping[str, SolveRequest]
) -> dict[str, Mapping[str, tuple[str, ...]]]:
    """Per subdir and package the names from what the label asks for to it."""
    return {
        subdir: dependency_chains(
            dependency_graph(records), map(dependency_name, requests[subdir].specs)
        )
        for subdir, records in contents.records_by_subdir.items()
    }


def shortest_chain(
    name: str, chains: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> tuple[str, ...]:
    """The shortest way to package ``name`` in any subdir."""
    paths = [chain.get(name.lower(), (name,)) for chain in chains.values()]
    return min(paths, key=lambda path: (path == (name,), len(path)))


def check_licences(
    contents: ChannelContents, requests: Mapping[str, SolveRequest], label: Label
) -> tuple[str, ...]:
    """Judge the licences of all packages but the label's own by its policy.

    Returns:
        What a release engineer should know, a line each.

    Raises:
        ProofError: a licence is denied; names every package and what pulls it in.
    """
    # A rebuild that changes nothing judges no licence, and is spared the import.
    from repack.report.changes import licence_of

    policy, own = label.licences, package_names(label)
    closed = policy.unknown == "deny" or label.strict
    chains = chains_by_subdir(contents, requests)
    denied, unknown = [], []
    for path, item in contents.items.items():
        name = item.record.name
        licence = judge_licence(licence_of(item.record, item.facts.about.licence), policy)
        if name in own or licence.verdict == "allowed":
            continue
        unknown += [path] if licence.verdict == "unknown" else []
        if licence.verdict == "denied" or closed:
            way = " -> ".join(shortest_chain(name, chains))
            denied.append(f"{path}: {licence.text or 'no licence'}; {way}")
    if denied:
        raise ProofError(
            f"the label's licence policy denies {len(denied)} of its packages",
            where=f"label {label.name}",
            got="".join(f"\n    {shown(line, 300)}" for line in denied[:20]),
            hint="take other builds or packages, or change `licences` of the label",
        )
    lines = [
        f"licences.deny: {word!r} is no SPDX identifier" for word in unknown_identifiers(policy)
    ]
    if unknown:
        lines.append(f"{len(unknown)} packages have no licence that SPDX knows; see the report")
    return tuple(lines)
