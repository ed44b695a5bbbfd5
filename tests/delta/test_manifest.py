"""Which package of the base a package is compared with."""

from __future__ import annotations

import pytest

from repack.delta.manifest import find_base
from repack.names import RelPath


@pytest.mark.parametrize(
    ("path", "there", "chosen"),
    [
        ("linux-64/a-2-0.conda", ["linux-64/a-1-0.conda"], "linux-64/a-1-0.conda"),
        ("linux-64/a-2-0.conda", ["noarch/a-1-0.conda"], "noarch/a-1-0.conda"),
        (
            "linux-64/a-2-0.conda",
            ["noarch/a-2-0.conda", "linux-64/a-1-0.tar.bz2", "linux-64/a-b-2-0.conda"],
            "linux-64/a-1-0.tar.bz2",
        ),
        (
            "win-64/a-2.1-py312_0.conda",
            ["win-64/a-2.0-py312_0.conda", "win-64/a-1.9-py311_0.conda"],
            "win-64/a-2.0-py312_0.conda",
        ),
        ("linux-64/a-2-0.conda", ["linux-64/b-2-0.conda"], None),
        ("linux-64/a-2-0.conda", [], None),
    ],
)
def test_base_is_the_most_alike(path, there, chosen):
    assert find_base(RelPath(path), [RelPath(one) for one in there]) == chosen
