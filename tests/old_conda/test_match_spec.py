from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.old_conda.match_spec import old_spec
from tests.clients import need

KEPT = [
    "a",
    "a *",
    "a 2.*",
    "a 2.0 0",
    "a 2.0",
    "a ==2.0",
    "a ==2.0 0",
    "a >=1,<3",
    "a >=1,!=1.5",
    "a !=1.5.*",
    "a 1.*|>=2.1",
    "a >=1.2.*",
    "a 3.11.* *_cp311",
    "a * *_cpython",
    "a >=3.0a0",
    "a ==1!1.0",
]
RESPELLED = [
    ("a =2", "a 2.*"),
    ("a=2.0", "a 2.0.*"),
    ("a =1.2.*", "a 1.2.*"),
    ("a =2.0=0", "a ==2.0 0"),
    ("a=2.0=0", "a ==2.0 0"),
    ("a 1.2=py*", "a ==1.2 py*"),
    ("a >=1, <3", "a >=1,<3"),
    ("a >= 1.2", "a >=1.2"),
    ("a >=1 , < 3  *_cp311", "a >=1,<3 *_cp311"),
    ("a ~=1.2.3", "a >=1.2.3,1.2.*"),
    ("a ==1.2.*", "a 1.2.*"),
    ("a[version='>=1']", "a >=1"),
    ('a[version=">=1, <2", build=*_cp311]', "a >=1,<2 *_cp311"),
    ("a[build='0']", "a * 0"),
]
UNSPEAKABLE = [
    "a[build_number=1]",
    "a >=1[md5=0]",
    "a >=1[version='<2']",
    "c::a 1",
    "a (>=1,<2)|3",
    "a ~=1",
    "a <=1.5.*",
    "",
]


@pytest.mark.parametrize("spec", KEPT)
def test_what_it_understands_is_left_alone(spec):
    assert old_spec(spec) == spec


@pytest.mark.parametrize(("spec", "old"), RESPELLED)
def test_the_rest_is_respelled(spec, old):
    assert old_spec(spec) == old


@pytest.mark.parametrize("spec", UNSPEAKABLE)
def test_or_said_to_have_no_words(spec):
    assert old_spec(spec) is None


@given(st.text(alphabet="ab1.2*=<>!~,| []'\"version", max_size=30))
def test_it_takes_anything_and_is_done_after_once(text):
    old = old_spec(text)
    if old is not None:
        assert old_spec(old) == old
        assert 1 <= len(old.split()) <= 3


VERSIONS = [
    "0.9",
    "1",
    "1.0",
    "1.2",
    "1.2.0",
    "1.2.3",
    "1.5",
    "1.5.2",
    "1.9.9",
    "2.0",
    "2.0.1",
    "2.1",
    "3",
    "3.0a0",
    "3.11.2",
    "1!1.0",
]
BUILDS = ["0", "py311_0", "1_cp311", "h1_cpython"]
PROGRAM = """
import json, sys
from conda.resolve import MatchSpec
specs, cases = json.load(sys.stdin)
json.dump([[bool(MatchSpec(s).match_fast(*case)) for case in cases] for s in specs], sys.stdout)
"""
BY_RATTLER = """
import json, os, sys
from rattler import BuildString, MatchSpec, PackageName, PackageRecord, VersionWithSource
specs, cases = json.load(sys.stdin)
name = PackageName("a")
records = [
    PackageRecord(name, VersionWithSource(v), BuildString(b), 0, "linux-64") for v, b in cases
]
json.dump([[MatchSpec(s).matches(r) for r in records] for s in specs], sys.stdout)
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.slow
def test_old_conda_takes_every_package_that_the_solver_takes():
    python = Path(need("old").path).with_name("python")
    specs = [*KEPT, *(spec for spec, _ in RESPELLED)]
    cases = [(version, build) for version in VERSIONS for build in BUILDS]

    def ask(program: Path, code: str, words: list[str]) -> list[list[bool]]:
        said = subprocess.run(
            [program, "-c", code],
            input=json.dumps([words, cases]),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(said.stdout)

    wanted = ask(Path(sys.executable), BY_RATTLER, specs)
    had = ask(python, PROGRAM, [old_spec(spec) or "" for spec in specs])
    for spec, solver, old in zip(specs, wanted, had, strict=True):
        lost = [
            case for case, one, other in zip(cases, solver, old, strict=True) if one and not other
        ]
        more = [
            case for case, one, other in zip(cases, solver, old, strict=True) if other and not one
        ]
        assert not lost, spec
        # It takes 1.5 for `!=1.5.*`: wider, so nothing is lost.
        assert not more or spec == "a !=1.5.*", spec
