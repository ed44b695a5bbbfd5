"""What crosses to rattler and back, with whichever rattler is installed."""

from __future__ import annotations

import asyncio

import pytest

from repack.conda.rattler import (
    is_older,
    run_async,
    to_rattler_records,
    to_rattler_virtual_packages,
    to_records,
    without_derived,
)
from repack.conda.virtual_packages import TargetProfile
from tests.archives import Package


@pytest.mark.parametrize("subdir", ["linux-64", "win-64"])
def test_virtual_packages_cross(subdir):
    profile = TargetProfile.of(subdir, {"__cuda": "12.4", "__archspec": "x86_64_v3"})
    packages = profile.virtual_packages
    natives = to_rattler_virtual_packages(packages)
    rows = [(n.name.normalized, str(n.version), str(n.build_string)) for n in natives]
    assert rows == [(p.name, p.version, p.build) for p in packages]
    assert ("__archspec", "1", "x86_64_v3") in rows


def test_records_come_back_as_they_were(tmp_path):
    record = Package().record(b"")
    (back,) = to_records(to_rattler_records([record], tmp_path))
    assert back == record
    assert without_derived(back).raw.items() >= {("name", "thing"), ("build", "0")}


def test_a_running_loop_is_no_hindrance():
    async def work():
        return 7

    async def caller():
        return run_async(work())

    assert asyncio.run(caller()) == 7


def test_versions_are_compared_as_conda_does():
    assert is_older("1.9", "1.10")
    assert not is_older("1.10", "1.9")
    assert not is_older("no version!", "1.0")
