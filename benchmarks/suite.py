"""All measurements: several rounds, each program once a round, so that a slow minute hits all.

``benchmarks/run.py`` makes the environment and calls this.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import contestants as c
from benchmarks import million, nginx, report, updating, upstream, variants

if TYPE_CHECKING:
    from benchmarks.measure import Sample

HOME: Final = c.ROOT / ".bench"
SECOND: Final = "bench2"
RECORDS: Final = 300
_UPDATES: Final = 8


class Suite:
    """The measurements of one run, by name."""

    def __init__(self, arena: c.Arena, served: Path) -> None:
        self.arena = arena
        self.served = served
        self.repack = c.Repack(arena)
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self.facts: dict[str, float] = {}

    def note(self, name: str, sample: Sample | None) -> None:
        """Keep a sample and say so."""
        if sample is not None:
            self.samples[name].append(sample)
            text = f"{name:20} {sample.wall:7.2f} s {sample.megabytes:6.0f} MB"
            print(text, file=sys.stderr, flush=True)

    def round(self, number: int, tools: Path) -> None:
        """Every program once."""
        arena, repack = self.arena, self.repack
        variants.switch(self.served / "current", self.served / "upstream")
        self.note("floor", c.floor(arena))
        repack.forget()
        self.note("cold", repack.build(c.LABEL, "--prove", "solved"))
        self.note("unchanged", repack.build(c.LABEL, "--prove", "solved"))
        variants.switch(self.served / "current", self.served / f"variant-{number}")
        self.note("changed", repack.build(c.LABEL, "--prove", "solved", "--update"))
        variants.switch(self.served / "current", self.served / "upstream")
        self.note("ship", c.ship(arena, tools))
        self.note("mirror", c.mirror(arena, tools))
        self.note("index_fs", c.index(arena))
        self.note("old", c.old_procedure(arena))
        self.note("install", c.install(arena))
        repack.forget()
        self.note("linked", repack.build())
        self.note("unchanged linked", repack.build())
        program = Path(sys.executable).with_name("repack")
        for _ in range(3):
            self.note("help", arena.run("help", [program, "--help"]))
        command = [sys.executable, "-m", "benchmarks.indexing", arena.work / "floor", RECORDS]
        indexing = arena.run("indexing", command)
        self.facts["indexing"] = min(float(indexing.output), self.facts.get("indexing", 1e9))
        channel = arena.work / "channels" / c.LABEL
        done = arena.run("verifying", [sys.executable, "-m", "benchmarks.verifying", channel])
        self.facts["verify"], self.facts["sha256sum"] = map(float, done.output.split())

    def second_label(self) -> None:
        """A label that shares about 95 % of the first one's packages."""
        before = self.repack.disk()
        left_out = {"xlsxwriter", "seaborn", "fastapi", "uvicorn"}
        specs = [spec for spec in self.arena.specs if spec not in left_out]
        self.repack.write_label(SECOND, [*specs, "wheel", "setuptools"])
        sample = self.repack.build(SECOND)
        self.note("second", sample)
        result = c.said(sample)
        first, second = (self._packages(name) for name in (c.LABEL, SECOND))
        news = {
            path: size
            for path, size in second.items()
            # The label's own packages are made, not fetched.
            if path not in first and SECOND not in path
        }
        self.facts["shared"] = 100 * len(first.keys() & second.keys()) / len(second)
        self.facts["fetched beyond"] = (result["bytes_fetched"] - sum(news.values())) / 1e6
        # The linked proof extracts what is new into the package cache.
        extracted = self.repack.extracted(Path(path).stem for path in news)
        growth = self.repack.disk() - before - sum(news.values()) - extracted
        self.facts["grown beyond"] = growth / 1e6

    def _packages(self, label: str) -> dict[str, int]:
        folder = self.arena.work / "channels" / label
        return {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in folder.glob("*/*.conda")
        }

    def updates(self, rounds: int) -> None:
        """The agent against rattler, who goes first changing with every round."""
        target = updating.Target(self.arena)
        target.prepare(self.served / "before", self.served / "upstream")
        pair = [("update", target.update), ("update native", target.native)]
        for _ in range(rounds):
            for name, work in pair:
                self.note(name, work())
            pair.reverse()
        self.facts |= target.grown()
        self.facts["switch"] = 1000 * target.switch()

    def millions(self, turn: int) -> None:
        """Solve against a million records, with and without shards, cold and warm.

        Who goes first changes with every ``turn``: the second finds less memory at hand.
        """
        for channel in ("million", "million-sharded"):
            url = self.arena.url.replace("current", channel)
            self.repack.write_label(channel, million.SPECS, url)
            caches = ("yardstick-repodata", "solver-repodata", "store", "cache", "channels")
            self.arena.clean(*caches, f"labels/{channel}.lock")
            pair = [("native", self._native), ("solver", self._solver)]
            for state in ("cold", "warm"):
                for name, solve in pair if turn % 2 else reversed(pair):
                    self.note(f"{channel} {name} {state}", solve(url))
            self.note(f"{channel} label", self.repack.build(channel, "--dry-run"))

    def _native(self, url: str) -> Sample:
        return self.arena.native("solve", url, *million.SPECS)

    def _solver(self, url: str) -> Sample:
        return c.solve(self.arena, url, million.SPECS)


def main() -> None:
    """Make what is missing, measure, report."""
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each program runs")
    parser.add_argument("--no-million", action="store_true", help="leave the big channel out")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/")
    options = parser.parse_args()
    served, work = HOME / "served", HOME / "work"
    size = "small" if options.no_million else "million"
    prepare = [sys.executable, "-m", "benchmarks.prepare", str(served), str(options.rounds), size]
    subprocess.run(prepare, check=True, cwd=c.ROOT)
    variants.switch(served / "current", served / "upstream")
    with nginx.serving(served) as address:
        arena = c.Arena(work, f"{address}/current", upstream.ROOTS)
        suite = Suite(arena, served)
        suite.repack.write_label(c.LABEL, upstream.ROOTS)
        for number in range(options.rounds):
            print(f"-- round {number + 1} of {options.rounds}", file=sys.stderr)
            suite.round(number, HOME / "tools")
        suite.second_label()
        for turn in range(0 if options.no_million else 4):
            suite.millions(turn)
        # Last, because looking at what the disk holds makes this process large.
        suite.updates(max(options.rounds, _UPDATES))
    text = report.text(suite.samples, suite.facts, served / "upstream")
    print(text)
    if options.write:
        report.write(text)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
