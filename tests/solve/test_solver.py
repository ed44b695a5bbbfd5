from __future__ import annotations

import pytest

from repack.conda.match_spec import spec_name


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
