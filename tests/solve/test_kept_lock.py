"""A lock that is kept: when it is checked by the solver again, and when it need not be."""

from __future__ import annotations

import json

import pytest

from repack.solve import resolve
from tests.world import World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, {"platforms": {"linux-64": {}}})


@pytest.fixture
def solved(monkeypatch):
    """The requests for which a lock was solved again."""
    requests = []

    def solve_among(records, request, _real=resolve.solve_among):
        requests.append(request)
        return _real(records, request)

    monkeypatch.setattr(resolve, "solve_among", solve_among)
    return requests


def test_an_unchanged_label_is_not_solved_again(world, solved):
    world.build("--prove", "solved")
    assert not world.build("--prove", "solved")["changed"]
    assert not solved


def test_a_changed_label_is_solved_again_once(world, solved):
    world.build("--prove", "solved")
    for _ in range(3):
        world.build("--prove", "solved", packages=["tiny-app", "tiny-lib"])
        assert len(solved) == 1


def test_a_label_that_its_lock_does_not_satisfy_gets_another_lock(world, solved):
    world.build("--prove", "solved")
    assert world.build("--prove", "solved", packages=["tiny-lib"])["removed"]
    assert solved


def test_an_edited_lock_is_solved_again(world, solved):
    world.build("--prove", "solved")
    lock = world.labels / "bank.lock"
    lock.write_bytes(lock.read_bytes() + b"# edited\n")
    world.build("--prove", "solved")
    assert len(solved) == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"lock": 5, "records": {}}'])
def test_a_damaged_memory_is_none(world, solved, damage):
    world.build("--prove", "solved")
    (memory,) = (world.store / "records").iterdir()
    memory.write_bytes(damage)
    assert not world.build("--prove", "solved")["changed"]
    assert len(solved) == 1


def test_another_solver_checks_the_lock_again(world, solved):
    world.build("--prove", "solved")
    (memory,) = (world.store / "records").iterdir()
    memory.write_text(json.dumps(json.loads(memory.read_text()) | {"satisfied": "0" * 64}))
    world.build("--prove", "solved")
    world.build("--prove", "solved")
    assert len(solved) == 1
