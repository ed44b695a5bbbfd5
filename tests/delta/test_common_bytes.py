"""Runs of bytes that two stretches have in common, and copies of them."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repack.delta import common_bytes
from repack.delta.common_bytes import Run, runs
from repack.errors import IntegrityError

NOISE = random.Random(1).randbytes(1 << 20)


def test_what_changed_in_between_is_left_out_to_the_byte():
    own = NOISE[:300_001] + b"?" * 5000 + NOISE[305_001:]
    assert list(runs(own, NOISE, 0, 32 << 10)) == [
        Run(0, 0, 300_001),
        Run(305_001, 305_001, len(NOISE) - 305_001),
    ]


def test_what_moved_is_found():
    own = b"new" * 100_000 + NOISE[7:]
    (run,) = runs(own, NOISE, 0, 32 << 10)
    assert run == Run(300_000, 7, len(NOISE) - 7)


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 90_000)), max_size=6),
       st.integers(-9000, 9000))  # fmt: skip
def test_runs_are_the_same_in_both_and_do_not_overlap(cuts, shift):
    own = b"".join(NOISE[at : at + size] for at, size in cuts)
    end = 0
    for run in runs(own, NOISE, shift, 1000):
        assert run.start >= end
        assert run.size >= 1000
        end = run.start + run.size
        assert own[run.start : end] == NOISE[run.base_start : run.base_start + run.size]


@pytest.mark.parametrize("inside", [True, False])
def test_copies_go_between_other_writes(tmp_path, monkeypatch, inside):
    if not inside:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    (tmp_path / "a").write_bytes(NOISE)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("wb") as out:
        out.write(b"before")
        common_bytes.copy_range(source, 5, 300_000, out)
        out.write(b"between")
        common_bytes.copy_range(source, 0, 10, out)
        with pytest.raises(IntegrityError, match="more of its base"):
            common_bytes.copy_range(source, len(NOISE) - 2, 3, out)
    want = b"before" + NOISE[5:300_005] + b"between" + NOISE[:10] + NOISE[-2:]
    assert (tmp_path / "b").read_bytes() == want
