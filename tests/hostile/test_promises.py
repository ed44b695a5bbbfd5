"""The page on trust names a test for each promise: the tests must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOSTILE = Path(__file__).parent
PAGE = (HOSTILE.parents[1] / "docs/trust.md").read_text("utf-8")
ROWS = re.findall(r"^\| (.+) \| `(test_\w+\.py)` \| (.+) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("promise", "file", "tests"), ROWS, ids=[row[1] for row in ROWS])
def test_each_promise_has_its_tests(promise, file, tests):
    names = re.findall(r"`(test_\w+)`", tests)
    assert names, promise
    text = (HOSTILE / file).read_text("utf-8")
    assert [name for name in names if f"def {name}(" not in text] == []


def test_every_test_that_the_page_names_is_there():
    assert len(ROWS) >= 20
    sources = "".join(path.read_text("utf-8") for path in HOSTILE.parent.rglob("test_*.py"))
    named = re.findall(r"(?:\.py|\u2026)::(test_\w+)", PAGE)
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in sources] == []
