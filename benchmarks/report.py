"""Turns samples into the figures of ``docs/performance.md``: ratios of one run."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Final

from benchmarks.contestants import ROOT
from benchmarks.measure import Sample, median
from benchmarks.targets import Target, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PAGE: Final = ROOT / "docs" / "performance.md"
MARKS: Final = ("<!-- figures: written by benchmarks/run.py --write -->", "<!-- end -->")
_TITLES: Final = {
    "old": "(a) the old procedure: conda create, copy, conda index",
    "floor": "(b) the floor: solve, 8 threads of http.client, SHA-256, repodata",
    "ship": "(c) conda-ship, external layout, on a finished lock; no channel",
    "mirror": "(d) conda-mirror, everything; no solve",
    "index_fs": "(e) rattler.index.index_fs(force=True)",
    "install": "rattler.install of the same records, empty package cache",
    "cold": "repack label, cold, proof: solved",
    "linked": "repack label, cold, proof: linked",
    "unchanged": "repack label, nothing changed (solved)",
    "unchanged linked": "repack label, nothing changed (linked)",
    "changed": "repack label --update, one package changed",
    "second": "repack label, a second label sharing most packages",
    "update": "repack target install, five of the packages changed",
    "update native": "rattler.install of the same records, package cache in the same state",
    "million native cold": "py-rattler solves, a million records, cold",
    "million solver cold": "repack solves, a million records, cold",
    "million native warm": "py-rattler solves, a million records, warm",
    "million solver warm": "repack solves, a million records, warm",
    "million-sharded native cold": "py-rattler solves, the same in shards, cold",
    "million-sharded solver cold": "repack solves, the same in shards, cold",
    "million-sharded native warm": "py-rattler solves, the same in shards, warm",
    "million-sharded solver warm": "repack solves, the same in shards, warm",
    "million label": "repack label --dry-run, a million records, no cache",
    "million-sharded label": "repack label --dry-run, the same in shards, cold",
    "help": "repack --help",
}


def text(samples: Mapping[str, list[Sample]], facts: Mapping[str, float], upstream: Path) -> str:
    """The report as Markdown."""
    middle = {name: median(every) for name, every in samples.items()}
    archives = [path for path in upstream.glob("*/*") if path.suffix in {".conda", ".bz2"}]
    size = sum(path.stat().st_size for path in archives) / 1e6
    rounds = len(samples["cold"])
    about = (
        f"{len(archives)} packages, {size:.0f} MB for linux-64; {os.cpu_count()} cores, "
        f"CPython {platform.python_version()}; medians of {rounds} rounds, whole processes."
    )
    head = "| program | wall | processor | peak memory |\n|---|---|---|---|"
    lines = [about, "", head]
    for name, one in middle.items():
        title = _TITLES.get(name, name)
        lines.append(f"| {title} | {one.wall:.2f} s | {one.cpu:.2f} s | {one.megabytes:.0f} MB |")
    return "\n".join([*lines, "", table(targets(middle, facts))])


def targets(middle: Mapping[str, Sample], facts: Mapping[str, float]) -> list[Target]:
    """What was promised, and what came of it."""
    wall = {name: one.wall for name, one in middle.items()}
    return [
        *_builds(wall, middle),
        *_repeats(wall, facts),
        *_indexing(wall, facts),
        _verifying(facts),
        *_update(wall, facts),
        *_million(middle),
    ]


def _ratio(wall: Mapping[str, float], ours: str, theirs: str) -> tuple[float | None, str]:
    if theirs not in wall:
        return None, f"{ours} {wall[ours]:.2f} s"
    return wall[ours] / wall[theirs], f"{wall[ours]:.2f} s : {wall[theirs]:.2f} s"


def _builds(wall: Mapping[str, float], middle: Mapping[str, Sample]) -> list[Target]:
    linked = wall["linked"] - wall["install"]
    return [
        Target("cold build, solved : the floor (b)", 2.0, *_unit(_ratio(wall, "cold", "floor"))),
        Target("cold build : old procedure (a)", 1 / 20, *_unit(_ratio(wall, "cold", "old"))),
        Target("cold build : conda-ship (c)", 1.0, *_unit(_ratio(wall, "cold", "ship"))),
        Target("cold build : conda-mirror (d)", 1.0, *_unit(_ratio(wall, "cold", "mirror"))),
        Target(
            "cold build, linked, beyond rattler.install",
            1.5,
            linked,
            "s",
            f"{wall['linked']:.2f} s - {wall['install']:.2f} s",
        ),
        Target("memory of a cold build, solved", 150, middle["cold"].megabytes, "MB"),
        Target(
            "memory of a cold build, linked",
            150,
            middle["linked"].megabytes,
            "MB",
            f"rattler.install alone: {middle['install'].megabytes:.0f} MB",
        ),
    ]


def _unit(pair: tuple[float | None, str]) -> tuple[float | None, str, str]:
    return pair[0], "x", pair[1]


def _repeats(wall: Mapping[str, float], facts: Mapping[str, float]) -> list[Target]:
    shared = f"{facts['shared']:.0f} % shared"
    return [
        Target("unchanged rebuild", 0.4, wall["unchanged"], "s"),
        Target("unchanged rebuild, linked", 0.4, wall["unchanged linked"], "s"),
        Target("repack --help", 0.15, wall["help"], "s"),
        Target("one changed package", 0.8, wall["changed"], "s", "its download included"),
        Target(
            "second label: fetched beyond the difference",
            0.0,
            facts["fetched beyond"],
            "MB",
            shared,
        ),
        # Metadata, lock, SBOM and the proof's facts of the second channel.
        Target(
            "second label: disk beyond the difference", 3.0, facts["grown beyond"], "MB", shared
        ),
    ]


def _indexing(wall: Mapping[str, float], facts: Mapping[str, float]) -> list[Target]:
    ours = facts["indexing"]
    return [
        Target("indexing 300 records", 0.1, ours, "s"),
        Target(
            "indexing : index_fs (e), which has half the records",
            1.0,
            ours / wall["index_fs"],
            "x",
            f"{ours:.3f} s : {wall['index_fs']:.2f} s",
        ),
    ]


def _verifying(facts: Mapping[str, float]) -> Target:
    ours, theirs = facts["verify"], facts["sha256sum"]
    name = "the channel's verify.py : sha256sum, one process a core"
    return Target(name, 1.25, ours / theirs, "x", f"{ours:.2f} s : {theirs:.2f} s")


def _update(wall: Mapping[str, float], facts: Mapping[str, float]) -> list[Target]:
    beyond, first = facts["update grown beyond"], facts["update first"]
    return [
        Target(
            "agent: an update : rattler.install",
            1.3,
            *_unit(_ratio(wall, "update", "update native")),
        ),
        Target("agent: the switch", 50, facts["switch"], "ms", "no services"),
        # conda-meta, folders, and the files that packages write their prefix into.
        Target(
            "agent: disk of the second release beyond changed packages : the first",
            0.05,
            beyond / first,
            "x",
            f"{beyond:.0f} MB : {first:.0f} MB",
        ),
    ]


def _million(middle: Mapping[str, Sample]) -> list[Target]:
    found = []
    for state in ("cold", "warm"):
        ours, theirs = (middle.get(f"million {who} {state}") for who in ("solver", "native"))
        if not ours or not theirs:
            return []
        shown = f"{ours.wall:.2f} s : {theirs.wall:.2f} s"
        what = f"a million records, {state}"
        found += [
            Target(f"{what} : py-rattler", 1.2, ours.wall / theirs.wall, "x", shown),
            Target(
                f"{what}, memory", 600, ours.megabytes, "MB", f"py-rattler {theirs.megabytes:.0f}"
            ),
        ]
        ours, theirs = (middle[f"million-sharded {who} {state}"] for who in ("solver", "native"))
        shown = f"py-rattler {theirs.wall:.2f} s, {theirs.megabytes:.0f} MB"
        found += [
            Target(f"{what}, sharded", 0.2, ours.wall, "s", shown),
            Target(f"{what}, sharded, memory", 100, ours.megabytes, "MB"),
        ]
    return found


def write(figures: str) -> None:
    """Put the figures between the marks of ``docs/performance.md``."""
    page = PAGE.read_text("utf-8")
    before, rest = page.split(MARKS[0], 1)
    _, after = rest.split(MARKS[1], 1)
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{figures}\n\n{MARKS[1]}{after}", "utf-8")
