from __future__ import annotations

import pytest

from repack.conda.match_spec import spec_name
from repack.conda.virtual_packages import TargetProfile
from repack.errors import UnsolvableError
from repack.solve.solution import SolveRequest
from repack.solve.solver import solve_among
from tests.archives import Package


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("tiny-app", "tiny-app"),
        ("Tiny-App >=1,<2", "tiny-app"),
        ("pytho 4.1.* *_cp311", "pytho"),
        ("a[version='>=1']", "a"),
    ],
)
def test_the_name_a_spec_asks_for(spec, name):
    assert spec_name(spec) == name


def test_the_solver_knows_the_profiles_virtual_packages():
    needs = ["__glibc >=2.17", "__archspec 1 x86_64_v3"]
    record = Package(index={"depends": needs}).record(b"")
    fitting = TargetProfile.of("linux-64", {"__archspec": "x86_64_v3"})
    assert solve_among([record], SolveRequest(fitting, ("thing",))) == (record,)
    for overrides in ({}, {"__archspec": "x86_64_v3", "__glibc": "2.5"}):
        profile = TargetProfile.of("linux-64", overrides)
        with pytest.raises(UnsolvableError):
            solve_among([record], SolveRequest(profile, ("thing",)))
