"""Why a package is there: the shortest chain of dependencies from one that was asked for."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from repack.conda.record import Record

# The name in front of a MatchSpec as repodata writes it, maybe behind a channel.
_NAME: Final = re.compile(r"\s*(?:[^\s\[]*::)?([A-Za-z0-9_.-]+)")


def dependency_name(spec: str) -> str:
    """The name of the package that a dependency asks for; empty when it names none."""
    match = _NAME.match(spec)
    return match.group(1).lower() if match else ""


def dependency_graph(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """Name -> names of those it depends on, among ``records`` alone; virtual packages left out."""
    by_name = {record.name.lower(): record for record in records}
    found = {}
    for name, record in sorted(by_name.items()):
        wanted = {dependency_name(spec) for spec in record.depends if isinstance(spec, str)}
        found[name] = tuple(sorted(wanted & by_name.keys() - {name}))
    return found


def dependency_chains(
    graph: Mapping[str, tuple[str, ...]], roots: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Name -> the chain that leads to it, itself included; of equals the first by name.

    ``pip`` counts as a dependency of ``python``, because conda adds it, but only where nothing else
    asks for it.
    """
    found: dict[str, tuple[str, ...]] = {}
    _walk(graph, sorted({root.lower() for root in roots} & graph.keys()), found)
    if "pip" in graph and "pip" not in found and "python" in found:
        found["pip"] = (*found["python"], "pip")
        _walk(graph, ["pip"], found)
    return found


def _walk(
    graph: Mapping[str, tuple[str, ...]], starts: list[str], found: dict[str, tuple[str, ...]]
) -> None:
    for name in starts:
        found.setdefault(name, (name,))
    queue = deque(starts)
    while queue:
        name = queue.popleft()
        for needed in graph[name]:
            if needed not in found:
                found[needed] = (*found[name], needed)
                queue.append(needed)
