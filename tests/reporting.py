"""Says while the tests run how far they are, and at the end what was left out and how to get it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from scripts import programs

EVERY = 15.0  # seconds between two lines
MARKS = ("soak", "slow")


@dataclass(eq=False)  # plugins are hashed
class Reporter:
    """What one run of pytest, in one process or several, did and left out."""

    config: pytest.Config
    total: int = 0
    ended: int = 0
    failed: int = 0
    began: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    left_out: Counter = field(default_factory=Counter)

    @property
    def terminal(self):
        return self.config.pluginmanager.get_plugin("terminalreporter")

    @property
    def is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    def pytest_deselected(self, items):
        for item in items:
            self.left_out.update([next((m for m in MARKS if item.get_closest_marker(m)), "")])

    def pytest_collection_finish(self, session):
        self.total = len(session.items) or self.total

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        self.total = len(ids)

    def pytest_sessionfinish(self):
        if self.is_worker:
            self.config.workeroutput["left_out"] = dict(self.left_out)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        # Every worker collects, and leaves out, the same.
        self.left_out |= Counter(getattr(node, "workeroutput", {}).get("left_out", {}))

    def pytest_runtest_logreport(self, report):
        self.failed += report.failed
        if report.when != "teardown" or self.is_worker:
            return
        self.ended += 1
        now = time.monotonic()
        if now - self.said >= EVERY and self.terminal is not None:
            self.said = now
            if self.terminal._tw.width_of_current_line:  # dots
                self.terminal.line("")
            self.terminal.write_line(
                progress(self.ended, self.total, self.failed, now - self.began)
            )

    def pytest_terminal_summary(self, terminalreporter):
        reasons = Counter()
        for report in terminalreporter.stats.get("skipped", []):
            text = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
            reasons.update([text.removeprefix("Skipped: ")])
        lines = summary(reasons, self.left_out, programs.missing())
        if lines:
            terminalreporter.section("not run here")
            for line in lines:
                terminalreporter.write_line(line)


def progress(ended: int, total: int, failed: int, seconds: float) -> str:
    """How far the run is, such as ``1200 of 4000 tests, none failed, 2 min, about 5 min left``."""
    left = seconds / ended * max(0, total - ended)
    return (
        f"{ended} of {max(total, ended)} tests, {failed or 'none'} failed, {span(seconds)}, "
        f"about {span(left)} left"
    )


def span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def summary(reasons: Counter, left_out: Counter, packages: list[str]) -> list[str]:
    """What was skipped, by reason, what was left out by marker, and how to run it."""
    lines = [f"{count:5}  {reason}" for reason, count in reasons.most_common()]
    lines += [
        f"{count:5}  {mark}: python3 scripts/test.py -m {mark}"
        if mark
        else f"{count:5}  left out by the command line"
        for mark, count in sorted(left_out.items())
    ]
    if reasons and packages:
        lines.append(f"on Debian and as root: apt-get install {' '.join(packages)}")
    return lines


def pytest_configure(config):
    config.pluginmanager.register(Reporter(config), "repack-reporting")
