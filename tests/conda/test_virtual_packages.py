from __future__ import annotations

import pytest

from repack.conda.virtual_packages import TargetProfile, VirtualPackage


def names(profile):
    return [str(package) for package in profile.virtual_packages]


def test_the_defaults_are_stated_and_the_same_on_every_host():
    assert names(TargetProfile.of("linux-64")) == [
        "__archspec=1=x86_64",
        "__glibc=2.17=0",
        "__linux=3.10=0",
        "__unix=0=0",
    ]
    assert names(TargetProfile.of("win-64")) == ["__archspec=1=x86_64", "__win=0=0"]


def test_a_label_overrides_adds_and_removes():
    profile = TargetProfile.of(
        "linux-64",
        {"__glibc": "2.28", "__cuda": "12.4", "__archspec": "skylake", "__linux": None},
    )
    assert names(profile) == [
        "__archspec=1=skylake",
        "__cuda=12.4=0",
        "__glibc=2.28=0",
        "__unix=0=0",
    ]


def test_archspec_carries_its_value_as_build():
    assert VirtualPackage.of("__archspec", "zen4") == VirtualPackage("__archspec", "1", "zen4")


@pytest.mark.parametrize(
    ("conda", "reads"),
    [
        (None, True),
        ("4.3", False),
        ("4.6.14", False),
        ("4.7", True),
        ("4.10", True),
        ("26.7", True),
    ],
)
def test_which_conda_reads_which_archives(conda, reads):
    assert TargetProfile.of("win-64", {}, conda).reads_conda_archives is reads


def test_profiles_are_keys():
    assert (
        len(
            {
                TargetProfile.of("linux-64"),
                TargetProfile.of("linux-64", {}),
                TargetProfile.of("win-64"),
            }
        )
        == 2
    )
