"""Many labels in one run: each ends by itself, and the next run does what is left."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repack.cli.main import run
from repack.errors import UsageError
from repack.fleet.journal import failed_labels, journal_of
from repack.fleet.result import LabelResult, summarize, worst_code
from repack.fleet.selection import select_labels
from tests import tiny
from tests.world import World, serving, snapshot

ROOT = Path(__file__).parents[2]


class Fleet:
    """A vendor with several labels."""

    def __init__(self, root: Path, count: int = 4) -> None:
        self.world = World(root, name="bank-0")
        for number in range(count):
            self.write(f"bank-{number}")

    def write(self, name: str, **changes) -> None:
        label = {**self.world.label, "label": name, **changes}
        (self.world.labels / f"{name}.yaml").write_text(json.dumps(label), encoding="utf-8")

    @property
    def folders(self) -> list[str]:
        world = self.world
        return [
            *("--labels-dir", str(world.labels), "--channels-dir", str(world.channels)),
            *("--store", str(world.store)),
        ]

    def run(self, *words: str, code: int = 0) -> tuple[list[dict], dict]:
        """Run with --json; the labels' lines and the summary."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            ended = run(["label", *words, "--json", *self.folders])
        assert ended == code, err.getvalue() + out.getvalue()
        assert "Traceback" not in err.getvalue()
        *rows, summary = map(json.loads, out.getvalue().splitlines())
        return rows, summary

    def states(self, *words: str, code: int = 0) -> dict[str, str]:
        return {row["label"]: row["state"] for row in self.run(*words, code=code)[0]}

    @property
    def history(self) -> Path:
        return self.world.channels / ".history"


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path / "ein Händler")


def test_all_labels(fleet):
    rows, summary = fleet.run("--all")
    assert {row["label"]: row["state"] for row in rows} == {
        f"bank-{n}": "published" for n in range(4)
    }
    assert summary["summary"] == {"published": 4}
    for number in range(4):
        assert run(["verify", str(fleet.world.channels / f"bank-{number}")]) == 0
    page = (fleet.world.channels / "index.html").read_text()
    assert all(f"bank-{number}" in page for number in range(4))
    assert set(fleet.states("--all").values()) == {"unchanged"}


def test_names_patterns_and_exclusions(fleet):
    fleet.write("other")
    assert set(fleet.states("bank-*", "--exclude", "bank-3")) == {"bank-0", "bank-1", "bank-2"}
    assert set(fleet.states("bank-3", "other")) == {"bank-3", "other"}


@pytest.mark.parametrize(
    ("patterns", "excluded", "chosen"),
    [
        ((), (), ("a", "b-1", "b-2")),
        (("b-*",), (), ("b-1", "b-2")),
        (("b-?", "a"), ("b-1",), ("a", "b-2")),
        ((), ("b-*",), ("a",)),
        ((), ("x*",), ("a", "b-1", "b-2")),
    ],
)
def test_selection(patterns, excluded, chosen):
    assert select_labels(("a", "b-1", "b-2"), patterns, excluded) == chosen


@pytest.mark.parametrize(("patterns", "excluded"), [(("c",), ()), (("c*",), ()), ((), ("c",))])
def test_a_name_that_fits_nothing(patterns, excluded):
    with pytest.raises(UsageError):
        select_labels(("a", "b"), patterns, excluded)


def test_one_bad_label_stops_no_other(fleet):
    fleet.write("bank-1", packages=["nothing-of-that-name"])
    (fleet.world.labels / "bank-2.yaml").write_text("label: [")
    rows, summary = fleet.run("--all", code=4)
    by_label = {row["label"]: row for row in rows}
    assert by_label["bank-1"]["exit_code"] == 4
    assert by_label["bank-2"]["exit_code"] == 3
    assert by_label["bank-0"]["state"] == by_label["bank-3"]["state"] == "published"
    assert summary["failed"] == ["bank-1", "bank-2"]
    assert set(failed_labels(fleet.history)) == {"bank-1", "bank-2"}
    fleet.write("bank-1")
    fleet.write("bank-2")
    assert fleet.states("--all", "--retry-failed") == {"bank-1": "published", "bank-2": "published"}


def test_the_same_fault_is_told_once_with_all_names(fleet, capsys):
    fleet.world.upstream.rename(fleet.world.upstream.with_name("gone"))
    assert run(["label", "--all", *fleet.folders]) == 5
    out = capsys.readouterr().out
    assert out.count("repodata cannot be read") == 1
    assert "4 labels: bank-0, bank-1, bank-2, bank-3" in out


def test_a_worker_that_is_killed_costs_one_label(fleet, monkeypatch):
    fleet.write("bank-2", health_check=["python", "-c", "0"])
    monkeypatch.setenv("REPACK_TEST_KILL", "bank-2")
    (fleet.world.root / "site").mkdir()
    # A bug that takes the whole process along, in one label's build.
    (fleet.world.root / "site/sitecustomize.py").write_text(
        "import os, signal\n"
        "import repack.release.line as line\n"
        "real = line.build\n"
        "def build(name, *a, **k):\n"
        "    if name == os.environ.get('REPACK_TEST_KILL'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(name, *a, **k)\n"
        "line.build = build\n"
    )
    path = os.pathsep.join([str(fleet.world.root / "site"), str(ROOT)])
    monkeypatch.setenv("PYTHONPATH", path)
    rows, summary = fleet.run("--all", "--jobs", "2", code=1)
    by_label = {row["label"]: row for row in rows}
    assert by_label["bank-2"]["kind"] == "killed"
    assert "signal 9" in by_label["bank-2"]["what"]
    assert summary["summary"] == {"failed": 1, "published": 3}
    monkeypatch.delenv("REPACK_TEST_KILL")
    assert fleet.states("--all", "--retry-failed") == {"bank-2": "published"}


def test_a_label_that_hangs_is_stopped(fleet, monkeypatch):
    (fleet.world.root / "site").mkdir()
    (fleet.world.root / "site/sitecustomize.py").write_text(
        "import time\n"
        "import repack.release.line as line\n"
        "real = line.build\n"
        "def build(name, *a, **k):\n"
        "    if name == 'bank-1': time.sleep(600)\n"
        "    return real(name, *a, **k)\n"
        "line.build = build\n"
    )
    path = os.pathsep.join([str(fleet.world.root / "site"), str(ROOT)])
    monkeypatch.setenv("PYTHONPATH", path)
    rows, summary = fleet.run("bank-0", "bank-1", "--label-timeout", "20s", "--jobs", "2", code=1)
    assert {row["label"]: row["kind"] for row in rows} == {"bank-0": "", "bank-1": "timeout"}
    assert summary["failed"] == ["bank-1"]


def test_fail_fast_and_budget_name_what_is_left(fleet):
    fleet.write("bank-0", packages=["nothing-of-that-name"])
    rows, summary = fleet.run("--all", "--fail-fast", "--jobs", "1", code=4)
    assert [row["state"] for row in rows] == ["failed", "left", "left", "left"]
    assert summary["left"] == ["bank-1", "bank-2", "bank-3"]
    fleet.write("bank-0")
    # The next run goes on; with no time at all it does nothing, and says so.
    rows, summary = fleet.run("--all", "--budget", "0s")
    assert summary["left"] == ["bank-0", "bank-1", "bank-2", "bank-3"]
    assert set(fleet.states("--all").values()) == {"published"}


def test_what_was_done_before_a_cut_is_not_done_again(fleet):
    names = [f"bank-{number}" for number in range(4)]
    fleet.run("bank-0", "bank-1")
    with journal_of(fleet.history, names) as journal:
        journal.add(LabelResult("bank-0", "unchanged"))
        journal.add(LabelResult("bank-1", "failed", 4))
    with (fleet.history / ".run.jsonl").open("a") as stream:
        stream.write('{"label": "bank-2", "sta')  # a power cut
    states = fleet.states("--all")
    assert set(states) == {"bank-1", "bank-2", "bank-3"}
    assert set(fleet.states("--all")) == set(names)


def test_two_runs_at_once(fleet):
    with journal_of(fleet.history, ["bank-0"]):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            assert run(["label", "--all", "--json", *fleet.folders]) == 8


def test_changed_only(fleet):
    fleet.run("--all")
    assert fleet.states("--changed-only") == {}
    fleet.write("bank-1", description="new")
    later = time.time() + 5
    os.utime(fleet.world.labels / "bank-1.yaml", (later, later))
    fleet.write("new-bank")
    assert set(fleet.states("--changed-only")) == {"bank-1", "new-bank"}


def test_upstream_is_asked_once_per_channel(tmp_path):
    fleet = Fleet(tmp_path / "vendor", 6)
    with serving(fleet.world.upstream) as (url, asked):
        for number in range(6):
            fleet.write(f"bank-{number}", channels=[url])
        fleet.run("--all", "--jobs", "1")
        archives = [path for path in asked if path.endswith(".conda")]
        assert len(archives) == len(set(archives))
        repodata = [path for path in asked if path.endswith("repodata.json")]
        assert len(repodata) == len(set(repodata))


def test_killed_at_random_instants(tmp_path):
    """Every label is old or new, and the next run ends well."""
    fleet = Fleet(tmp_path / "vendor", 4)
    fleet.run("--all")
    random.seed(3)
    for turn in range(4):
        fleet.world.serve(
            *tiny.PACKAGES[:-2],
            tiny.Package(
                "tiny-data", f"2.{turn}", (), "noarch", "generic", files={"share/x": str(turn)}
            ),
            tiny.PACKAGES[-1],
        )
        command = [sys.executable, "-m", "repack", "label", "--all", "--update", *fleet.folders]
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            time.sleep(random.uniform(0.5, 4))
            process.send_signal(signal.SIGKILL)
        for number in range(4):
            folder = fleet.world.channels / f"bank-{number}"
            assert run(["verify", str(folder)]) == 0
        deadline = time.monotonic() + 60
        while True:  # a worker of the killed run may end a moment later
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run(["label", "--all", "--update", *fleet.folders])
            if code == 0 or time.monotonic() > deadline:
                break
        assert code == 0, out.getvalue() + err.getvalue()
        for number in range(4):
            document = json.loads(
                (fleet.world.channels / f"bank-{number}/noarch/repodata.json").read_bytes()
            )
            assert any(row["version"] == f"2.{turn}" for row in document["packages.conda"].values())


def test_results_and_words():
    results = [
        LabelResult("a", "published", release=3, bytes_fetched=10),
        LabelResult("b", "failed", 5, kind="fetch", what="no route", cause="no route"),
        LabelResult("c", "failed", 5, kind="fetch", what="no route", cause="no route"),
        LabelResult("d", "failed", 7, kind="proof", what="bad", cause="bad"),
        LabelResult("e", "left"),
    ]
    assert worst_code(results) == 7
    text = "\n".join(summarize(results, 5))
    assert "5 labels: 1 published, 3 failed, 1 not built" in text
    assert "fetch (exit code 5), 2 labels: b, c" in text
    assert text.count("no route") == 1
    assert "not built: e" in text


def test_a_dry_run_writes_nothing(fleet):
    fleet.run("--all")
    before = snapshot(fleet.world.channels / "bank-0")
    assert set(fleet.states("--all", "--dry-run").values()) == {"previewed"}
    assert snapshot(fleet.world.channels / "bank-0") == before


@pytest.mark.parametrize("words", [(), ("--exclude", "x"), ("--all", "--budget", "soon")])
def test_usage(fleet, words):
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        assert run(["label", *words, *fleet.folders]) == 2
