"""Why a package is installed: the shortest chain of dependencies from a requested package."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.conda.record import Record

# The name at the start of a MatchSpec as repodata has it, possibly behind a channel.
_NAME: Final = re.compile(r"\s*(?:[^\s\[]*::)?([A-Za-z0-9_.-]+)")


def dependency_name(spec: str) -> str:
    """The name of the package that a dependency requires; empty when it names none."""
    match = _NAME.match(spec)
    return match.group(1).lower() if match else ""


def dependency_graph(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """Name -> names of its dependencies among ``records``; virtual packages are left out."""
    by_name = {record.name.lower(): record for record in records}
    graph = {}
    for name, record in sorted(by_name.items()):
        names = {dependency_name(spec) for spec in record.depends if isinstance(spec, str)}
        graph[name] = tuple(sorted(names & by_name.keys() - {name}))
    return graph


def dependency_chains(
    graph: Mapping[str, tuple[str, ...]], roots: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Name -> the shortest chain from a root to it, both included; of equals the first by name.

    ``pip`` counts as a dependency of ``python``, because conda adds it, but only where nothing else
    depends on it.
    """
    starts = sorted({root.lower() for root in roots} & graph.keys())
    chains: dict[str, tuple[str, ...]] = {name: (name,) for name in starts}
    _extend_chains(graph, starts, chains)
    if "pip" in graph and "pip" not in chains and "python" in chains:
        chains["pip"] = (*chains["python"], "pip")
        _extend_chains(graph, ["pip"], chains)
    return chains


def _extend_chains(
    graph: Mapping[str, tuple[str, ...]], starts: list[str], chains: dict[str, tuple[str, ...]]
) -> None:
    """Search breadth first from ``starts``, which have chains already."""
    queue = deque(starts)
    while queue:
        name = queue.popleft()
        for dependency in graph[name]:
            if dependency not in chains:
                chains[dependency] = (*chains[name], dependency)
                queue.append(dependency)
