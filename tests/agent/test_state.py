"""The journal's state machine, tried on a make-believe target that is cut off anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from repack.agent.state import MAX_STARTS, State, parse_journal
from repack.errors import (
    NothingPendingError,
    NothingToRollBackToError,
    PlaceError,
    RunAwaitedError,
)

RUNNING = State(current=1, good=(1,), highest=1)
RELEASES = st.integers(1, 5)


def test_the_way_of_a_release():
    filling = RUNNING.fill(2)
    assert (filling.phase, filling.release, filling.current) == ("filling", 2, 1)
    trying = filling.filled().start()
    assert (trying.phase, trying.starts) == ("trying", 1)
    assert trying.worked() == State(current=2, good=(1, 2), highest=2)
    assert trying.gave_up().reverted() == State(current=1, good=(1,), failed=(2,), highest=1)
    assert filling.dropped() == RUNNING


@pytest.mark.parametrize("phase", ["pending", "trying", "awaiting"])
def test_one_release_at_a_time(phase):
    with pytest.raises(RunAwaitedError):
        replace(RUNNING, phase=phase, release=2).fill(3)


@pytest.mark.parametrize("state", [State(), RUNNING, RUNNING.fill(2)])
def test_nothing_to_run(state):
    with pytest.raises(NothingPendingError):
        state.start()


def test_a_release_is_given_up_after_three_starts():
    state = RUNNING.fill(2).filled()
    for _ in range(MAX_STARTS):
        state = state.start()
        assert state.phase == "trying"
    assert state.start().phase == "reverting"


def test_rolling_back_skips_what_is_gone():
    state = State(current=3, good=(1, 2, 3), highest=3)
    assert state.roll_back({1, 2, 3}).current == 2
    assert state.roll_back({1, 3}).current == 1
    back = state.roll_back({1, 2, 3}).reverted()
    assert (back.current, back.good, back.failed, back.highest) == (2, (1, 2), (3,), 3)
    for one, there in ((state, {3}), (State(), {1}), (RUNNING, {1})):
        with pytest.raises(NothingToRollBackToError):
            one.roll_back(there)


def test_rolling_back_from_a_try_that_was_cut_off():
    trying = RUNNING.fill(2).filled().start()
    back = trying.roll_back({1, 2})
    assert (back.phase, back.release, back.current, back.cause) == ("reverting", 2, 1, "wish")


def test_what_is_kept():
    state = State(current=3, good=(1, 2, 3), highest=3)
    assert state.kept(2) == {2, 3}
    assert state.kept(0) == {3}
    assert state.fill(4).kept(1) == {3, 4}
    assert State().kept(2) == frozenset()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": 2}',
        RUNNING.to_bytes().replace(b'"idle"', b'"busy"'),
        RUNNING.to_bytes().replace(b'"idle"', b'"pending"'),
        RUNNING.to_bytes().replace(b'"current": 1', b'"current": "1"'),
        RUNNING.to_bytes().replace(b'"failure"', b'"fate"'),
        RUNNING.to_bytes().replace(b'"highest": 1', b'"highest": true'),
        RUNNING.to_bytes().replace(b'"highest": 1', b'"highest": -1'),
        RUNNING.to_bytes().replace(b'"highest"', b'"tallest"'),
    ],
)
def test_a_damaged_journal_is_refused(data):
    with pytest.raises(PlaceError):
        parse_journal(data, "journal.json")


@dataclass
class Target:
    """The disk of a target: what a power cut leaves."""

    journal: State = field(default_factory=State)
    pointer: int | None = None
    whole: set[int] = field(default_factory=set)

    def steps_of_install(self, release):
        """The agent's own order: the journal before the disk."""
        self.journal = self.journal.fill(release)
        yield
        self.whole.discard(release)
        yield
        self.whole.add(release)
        yield
        self.journal = self.journal.filled()
        yield

    def steps_of_run(self, *, healthy):
        self.journal = self.journal.start()
        yield
        if self.journal.phase == "trying":
            self.pointer = self.journal.release
            yield
            if healthy:
                self.journal = self.journal.worked()
                yield
                return
            self.journal = self.journal.gave_up()
            yield
        yield from self.steps_back()

    def steps_of_rollback(self):
        self.journal = self.journal.roll_back(self.whole)
        yield
        yield from self.steps_back()

    def steps_back(self):
        self.pointer = self.journal.current
        yield
        self.journal = self.journal.reverted()
        yield

    def settle(self):
        if self.journal.phase == "filling":
            self.whole.discard(self.journal.release)
            self.journal = self.journal.dropped()

    def go(self, steps, limit):
        """Carry out ``steps`` until the power is cut."""
        for number, _ in enumerate(steps):
            self.check()
            if number >= limit:
                return

    def check(self):
        assert self.pointer is None or self.pointer in self.whole
        assert parse_journal(self.journal.to_bytes(), "journal") == self.journal
        assert self.journal.current is None or self.journal.current in self.whole


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["install", "run", "bad run", "rollback"]), RELEASES, st.integers(0, 8)
    ),
    max_size=25,
)


@given(ACTIONS)
def test_a_power_cut_anywhere_leaves_a_whole_release_in_use(actions):
    target = Target()
    for what, release, limit in actions:
        target.settle()
        if target.journal.phase == "reverting":
            target.go(target.steps_back(), 9)
        try:
            if what == "install" and release not in {target.journal.current, target.pointer}:
                target.go(target.steps_of_install(release), limit)
            elif what == "rollback":
                target.go(target.steps_of_rollback(), limit)
            elif what != "install":
                target.go(target.steps_of_run(healthy=what == "run"), limit)
        except (RunAwaitedError, NothingPendingError, NothingToRollBackToError):
            assert target.journal.phase != "reverting"
        target.check()
    # however it went, a few more calls get the target to rest
    target.settle()
    if target.journal.phase in ("pending", "trying", "reverting"):
        target.go(target.steps_of_run(healthy=True), 9)
    assert target.journal.phase == "idle"
    assert target.journal.current == target.pointer or target.pointer is None
