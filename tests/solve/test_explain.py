"""Why a label cannot be solved, told by its lines; every hint is followed and works."""

from __future__ import annotations

import json
import re

import pytest

from tests import tiny
from tests.world import World

NEW = (
    *tiny.PACKAGES,
    tiny.Package("needs-glibc", "2.0", ("__glibc >=2.28,<3",)),
    tiny.Package("needs-both", "1.0", ("needs-glibc", "__glibc >=2.34", "__linux >=4")),
    tiny.Package("needs-cuda", "1.0", ("__cuda >=12.0",)),
)
LABEL = """\
label: bank
channels:
  - {url}
packages:
  - tiny-lib
  - {spec}
platforms:
  linux-64: {profile}
"""


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "wörk dir")
    world.serve(*NEW)
    return world


def fail(world, spec, profile="{}"):
    """The one problem that an unsolvable label has: line, what, hint."""
    text = LABEL.format(url=world.upstream.as_uri(), spec=spec, profile=profile)
    (world.labels / "bank.yaml").write_text(text, encoding="utf-8")
    error = told(world)
    assert error["exit_code"] == 4, error
    (problem,) = error["problems"]
    line = int(problem["where"].rpartition(":")[2])
    assert problem["where"].startswith(str(world.labels / "bank.yaml"))
    return line, problem["what"], problem["hint"]


def told(world):
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        world.repack("label", "bank", "--json")
    return json.loads(out.getvalue())


def follow(world, line, new):
    """Put ``new`` in place of the value on ``line`` of the label; it must build then."""
    path = world.labels / "bank.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    head = re.match(r"\s*(- )?", lines[line - 1])[0]
    lines[line - 1] = head + new
    path.write_text("\n".join(lines), encoding="utf-8")
    assert told(world).get("release") == 1, told(world)


@pytest.mark.parametrize("spec", ["tiny-ap", "tiny_app", "pyhton", "tiny-dta >=0.5"])
def test_a_misspelt_package(world, spec):
    line, what, hint = fail(world, spec)
    assert (line, "no channel has a package" in what) == (6, True)
    meant = re.fullmatch("did you mean '(.*)'\\?", hint)[1]
    follow(world, line, meant)


@pytest.mark.parametrize("spec", ["pip >=99", "tiny-app ==3", "python <2"])
def test_a_bound_that_cannot_be_met(world, spec):
    line, what, hint = fail(world, f'"{spec}"')
    assert line == 6
    assert "is not on offer for linux-64; the newest " in what
    follow(world, line, f'"{re.search("write .(.*?).,", hint)[1]}"')


@pytest.mark.parametrize(
    ("spec", "profile", "needed", "written"),
    [
        ("needs-glibc", "{}", "__glibc >=2.28,<3, the profile has 2.17", '{__glibc: "2.28"}'),
        ("needs-both", '{conda: "23.1"}', "__glibc", '{conda: "23.1", __glibc: "2.34", __linux: "4"}'),
        ("needs-cuda", '{__glibc: "2.34"}', "__cuda >=12.0, the profile has none",
         '{__glibc: "2.34", __cuda: "12.0"}'),
    ],
)  # fmt: skip
def test_a_profile_that_lacks_what_packages_need(world, spec, profile, needed, written):
    line, what, hint = fail(world, spec, profile)
    assert line == 8
    assert needed in what
    assert hint == f"if the targets have it, write linux-64: {written}"
    follow(world, line, hint.partition(", write ")[2])


def test_a_profile_on_the_command_line(world, capsys):
    from repack.cli.main import run

    words = ["label", "x", "-c", world.upstream.as_uri(), "needs-glibc",
             "--channels-dir", str(world.channels), "--store", str(world.store)]  # fmt: skip
    assert run([*words, "-p", "linux-64"]) == 4
    error = capsys.readouterr().err
    hint = re.search(r"write (-p \S+)\)", error)[1]
    assert run([*words, *hint.split()]) == 0


def test_a_day_that_hides_all(world):
    text = LABEL.format(url=world.upstream.as_uri(), spec="tiny-app", profile="{}")
    path = world.labels / "bank.yaml"
    path.write_text(f"{text}exclude_newer: 2020-01-01\n", encoding="utf-8")
    problems = told(world)["problems"]
    assert {problem["where"].rpartition(":")[2] for problem in problems} == {"9"}
    assert "'exclude_newer' hides every 'tiny-app' for linux-64" in problems[1]["what"]
    assert problems[1]["hint"] == "take a later day"
    path.write_text(f"{text}exclude_newer: 2026-01-01\n", encoding="utf-8")
    assert told(world)["release"] == 1


def test_what_the_label_cannot_help_keeps_the_solvers_words(world):
    world.serve(*NEW, tiny.Package("broken", "1.0", ("nowhere-to-be-had",)))
    text = LABEL.format(url=world.upstream.as_uri(), spec="broken", profile="{}")
    (world.labels / "bank.yaml").write_text(text, encoding="utf-8")
    error = told(world)
    assert error["exit_code"] == 4
    assert "problems" not in error
    assert "nowhere-to-be-had" in error["explanations"]["linux-64"]


def test_a_json_label_is_told_json(world):
    world.label = {**world.label, "packages": ["needs-glibc"], "platforms": {"linux-64": {}}}
    path = world.labels / "bank.json"
    path.write_text(json.dumps(world.label, indent=1))
    (problem,) = told(world)["problems"]
    assert problem["hint"].endswith('write "linux-64": {"__glibc": "2.28"}')
