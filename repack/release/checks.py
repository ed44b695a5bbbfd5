"""Guard: what must not be in a finished channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.conda.dependencies import dependency_chains, dependency_graph, dependency_name
from repack.conda.spdx import judge_licence, unknown_identifiers
from repack.display import shown
from repack.errors import IntegrityError, ProofError
from repack.report.compose import licence_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.channel.contents import ChannelContents
    from repack.label.label import Label
    from repack.names import RelPath
    from repack.solve.solution import SolveRequest

# Shorter words occur by chance; a secret that short protects nothing anyway.
_SHORTEST: Final = 4


def search_secrets(
    texts: Mapping[RelPath, bytes], names: Iterable[str], secrets: Iterable[str]
) -> None:
    """Search every metadata file and every file name for every secret the build used.

    Raises:
        IntegrityError: one is found. The message names the file, never the secret.
    """
    wanted = [secret.encode() for secret in secrets if len(secret) >= _SHORTEST]
    places = [*texts.items(), *((name, name.encode()) for name in names)]
    for path, data in places:
        if any(secret in data for secret in wanted):
            raise IntegrityError(
                "a secret that the build used stands in this file; nothing was published",
                where=path,
                hint="look where the label, a record or a package name holds a token",
            )


def check_scripts(shipment: ChannelContents, label: Label) -> tuple[str, ...]:
    """What a release engineer should know of the packages, a line each.

    Raises:
        ProofError: there is something, and the label is ``strict``.
    """
    found = []
    for path, item in shipment.items.items():
        for script in item.facts.scripts:
            urls = f", which names {', '.join(script.urls)}" if script.urls else ""
            found.append(f"{path}: runs {script.path} at {script.when}{urls}")
        if item.record.subdir.startswith("win-"):
            found += [f"{path}: Windows cannot hold {name}" for name in item.facts.windows_faults]
    if found and label.strict:
        raise ProofError(
            f"the label is strict and {len(found)} packages give cause for concern",
            got="".join(f"\n    {line}" for line in found[:20]),
            hint="take other builds of these packages, or drop `strict` from the label",
        )
    return tuple(found)


def check_licences(
    shipment: ChannelContents,
    requests: Mapping[str, SolveRequest],
    own: Iterable[str],
    label: Label,
) -> tuple[str, ...]:
    """Judge the licences of all packages but the label's own by its policy.

    Returns:
        What a release engineer should know, a line each.

    Raises:
        ProofError: a licence is denied; names every package and what pulls it in.
    """
    policy, mine = label.licences, frozenset(own)
    closed = policy.unknown == "deny" or label.strict
    chains = {
        subdir: dependency_chains(
            dependency_graph(records), map(dependency_name, requests[subdir].specs)
        )
        for subdir, records in shipment.records_by_subdir.items()
    }
    denied, unknown = [], []
    for path, item in shipment.items.items():
        name = item.record.name
        licence = judge_licence(licence_of(item), policy)
        if name in mine or licence.verdict == "allowed":
            continue
        unknown += [path] if licence.verdict == "unknown" else []
        if licence.verdict == "denied" or closed:
            ways = (chains[subdir].get(name.lower(), (name,)) for subdir in chains)
            way = min(ways, key=lambda way: (way == (name,), len(way)))
            denied.append(f"{path}: {licence.text or 'no licence'}; {' -> '.join(way)}")
    if denied:
        raise ProofError(
            f"the label's licence policy denies {len(denied)} of its packages",
            where=f"label {label.name}",
            got="".join(f"\n    {shown(line, 300)}" for line in denied[:20]),
            hint="take other builds or packages, or change `licences` of the label",
        )
    odd = unknown_identifiers(policy)
    lines = [f"licences.deny: {one!r} is no SPDX identifier" for one in odd]
    if unknown:
        lines.append(f"{len(unknown)} packages have no licence that SPDX knows; see the report")
    return tuple(lines)
