"""Which targets a wheel runs on, and what it asks of them."""

from __future__ import annotations

import pytest

from repack.conda.virtual_packages import TargetProfile
from repack.errors import IntegrityError
from repack.wheels.requirements import Machine
from repack.wheels.tags import fit_of
from repack.wheels.wheel import read_wheel
from tests.wheels.wheels import make_wheel

PYTHON = "python >=3.11,<3.12.0a0"


def fit(tmp_path, tag, subdir="linux-64", glibc="2.28"):
    values = {"__glibc": glibc} if subdir.startswith("linux") else {}
    wheel = read_wheel(make_wheel(tmp_path, tag=tag))
    return fit_of(wheel, Machine(subdir, "3.11.7"), TargetProfile.of(subdir, values)).depends


@pytest.mark.parametrize(
    ("tag", "needs"),
    [
        ("py3-none-any", ()),
        ("py2.py3-none-any", ()),
        ("cp311-cp311-manylinux_2_28_x86_64", (PYTHON, "__glibc >=2.28")),
        ("cp311-cp311-manylinux2014_x86_64", (PYTHON, "__glibc >=2.17")),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", (PYTHON, "__glibc >=2.17")),
        ("cp311-cp311-manylinux_2_28_x86_64.manylinux_2_24_x86_64", (PYTHON, "__glibc >=2.24")),
        ("cp38-abi3-manylinux1_x86_64", ("python >=3.8", "__glibc >=2.5")),
        ("py3-none-manylinux_2_17_x86_64", ("__glibc >=2.17",)),
        ("cp311-cp311-linux_x86_64", (PYTHON,)),
        ("cp311-none-any", (PYTHON,)),
    ],
)
def test_what_it_needs(tmp_path, tag, needs):
    assert fit(tmp_path, tag) == needs


@pytest.mark.parametrize(
    "tag",
    [
        "cp311-cp311-manylinux_2_35_x86_64",
        "cp311-cp311-manylinux_2_17_aarch64",
        "cp310-cp310-manylinux_2_17_x86_64",
        "cp312-abi3-manylinux_2_17_x86_64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp311-cp311-win_amd64",
        "cp311-cp311-macosx_11_0_arm64",
        "cp313-cp313t-manylinux_2_17_x86_64",
        "pp311-pypy311_pp73-manylinux_2_17_x86_64",
        "py2-none-any",
    ],
)
def test_what_does_not_run_is_refused_with_tag_and_profile(tmp_path, tag):
    with pytest.raises(IntegrityError) as caught:
        fit(tmp_path, tag)
    assert tag.split("-")[2] in caught.value.text()
    assert "__glibc=2.28" in caught.value.text()


def test_the_hint_can_be_followed(tmp_path):
    with pytest.raises(IntegrityError) as caught:
        fit(tmp_path, "cp311-cp311-manylinux_2_34_x86_64")
    assert '__glibc: "2.34" below platforms.linux-64' in (caught.value.hint or "")
    assert fit(tmp_path, "cp311-cp311-manylinux_2_34_x86_64", glibc="2.34")


def test_windows(tmp_path):
    assert fit(tmp_path, "cp311-cp311-win_amd64", "win-64") == (PYTHON,)
    with pytest.raises(IntegrityError):
        fit(tmp_path, "cp311-cp311-manylinux_2_28_x86_64", "win-64")


def test_python_abi_is_asked_for_where_there_is_one(tmp_path):
    wheel = read_wheel(make_wheel(tmp_path, tag="cp311-cp311-win_amd64"))
    machine = Machine("win-64", "3.11.7", has_python_abi=True)
    assert "python_abi 3.11.*" in fit_of(wheel, machine, TargetProfile.of("win-64")).depends
