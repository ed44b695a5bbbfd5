"""A package that wants more of a machine than the target profile has: the error names the key."""

from __future__ import annotations

import pytest

from tests import tiny
from tests.world import World

NEEDY = (
    tiny.Package("needy", "2.0", ("__glibc >=2.28", "tiny-lib")),
    tiny.Package("needy", "1.0", ("__glibc >=2.26,<3.0.a0",)),
    tiny.Package("gpu", "1.0", ("__cuda >=12",)),
    tiny.Package("alien", "1.0", ("__osx >=11",)),
    tiny.Package("arch", "1.0", ("__archspec * x86_64_v4",)),
    tiny.Package("above", "1.0", ("needy",)),
)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.serve(*tiny.PACKAGES, *NEEDY)
    return world


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("needy", ["__glibc >=2.28 or >=2.26,<3.0.a0", "has 2.17", "platforms.linux-64.__glibc"]),
        ("above", ["__glibc >=2.28", "has 2.17", "platforms.linux-64.__glibc"]),
        ("gpu", ["__cuda >=12", "has none", "platforms.linux-64.__cuda"]),
        ("__glibc >=2.30", ["__glibc >=2.30", "platforms.linux-64.__glibc"]),
        ("arch", ["x86_64_v4", "has x86_64", "platforms.linux-64.__archspec"]),
        ("alien", ["__osx >=11, which no linux-64 target has"]),
    ],
)
def test_the_error_says_so(world, spec, says):
    text = world.fail(4, packages=[spec, "tiny-data"], platforms={"linux-64": {}})
    hint = text.partition("  hint: ")[2]
    for words in says:
        assert words in hint


def test_two_names_are_two_sentences(world):
    text = world.fail(4, packages=["needy", "gpu"], platforms={"linux-64": {}})
    assert "platforms.linux-64.__" in text.partition("  hint: ")[2]


def test_what_is_missing_for_another_reason_has_another_hint(world):
    text = world.fail(4, packages=["nowhere-to-be-found"], platforms={"linux-64": {}})
    assert "add a channel that has it" in text
    assert "platforms." not in text


def test_with_the_key_set_it_is_built(world):
    world.build(
        packages=["needy", "gpu"], platforms={"linux-64": {"__glibc": "2.28", "__cuda": "12.4"}}
    )
