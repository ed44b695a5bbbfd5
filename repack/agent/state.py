"""What an agent remembers of its target, and what may happen next: a pure state machine.

The agent writes the new state down first and then does what the state asks for. Everything that
it does can be done again, so after a power cut the next call reads the state and carries on:

=============  ===========================================================================
phase          what the target looks like, at any instant
=============  ===========================================================================
``idle``       ``current`` is in use; nothing else is going on
``filling``    ``current`` is in use; the folder of ``release`` may be half there
``pending``    ``current`` is in use; ``release`` is whole and waits for ``run``
``trying``     ``release`` is being switched to and looked at; either may be in use
``reverting``  ``release`` is being left for ``current``; either may be in use
``awaiting``   ``current`` is switched to again, and starts with the next reboot
=============  ===========================================================================

A release that failed, or that somebody rolled back from, is not taken again unless it is named.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal, get_args

from msgspec import Struct
from msgspec.structs import asdict, replace

from repack.codec.canonical import loads
from repack.errors import (
    NothingPendingError,
    NothingToRollBackToError,
    PlaceError,
    RepackError,
    RunAwaitedError,
)

if TYPE_CHECKING:
    from collections.abc import Collection

Phase = Literal["idle", "filling", "pending", "trying", "reverting", "awaiting"]
Cause = Literal["failure", "wish"]

MAX_STARTS: Final = 3
"""A release that was started so often and never got through its health check is given up."""
LIMIT: Final = 1 << 20
_FORMAT: Final = 1


class State(Struct, frozen=True):
    """The journal's content.

    Attributes:
        release: the one that is being installed, tried or left; None when idle.
        current: the release in use that went well, None on a new target.
        good: every release that went well and did not fail since, oldest first.
        failed: every release that failed or was rolled back from.
        starts: how often ``release`` was started.
        cause: why there is a way back: a failure, or an administrator's wish.
        highest: the highest release that ever was in use.
    """

    phase: Phase = "idle"
    release: int | None = None
    current: int | None = None
    good: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    starts: int = 0
    cause: Cause = "failure"
    highest: int = 0

    def to_bytes(self) -> bytes:
        """The journal file."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1).encode() + b"\n"

    def must_be_free(self) -> None:
        """See that another release can be installed.

        Raises:
            RunAwaitedError: one waits for ``run``.
        """
        if self.phase in ("pending", "trying", "awaiting"):
            raise RunAwaitedError(
                f"release {self.release} waits for `repack target run`",
                hint="run it, or give it up by `repack target rollback`",
            )

    def fill(self, release: int) -> State:
        """Begin to fill the folder of ``release``.

        Raises:
            RunAwaitedError: another one waits for ``run``.
        """
        self.must_be_free()
        return replace(self, phase="filling", release=release, starts=0)

    def filled(self) -> State:
        """The folder is whole and on the disk."""
        return replace(self, phase="pending")

    def dropped(self) -> State:
        """What was being filled, or waited, is given up; it did not fail."""
        return replace(self, phase="idle", release=None, starts=0)

    def start(self) -> State:
        """Try the pending release, or carry on with what was cut off.

        Raises:
            NothingPendingError: there is nothing to be tried.
        """
        if self.phase in ("reverting", "awaiting"):
            return self
        if self.phase not in ("pending", "trying"):
            raise NothingPendingError("there is nothing to run", hint="install a release first")
        if self.starts >= MAX_STARTS:
            return self.gave_up()
        return replace(self, phase="trying", starts=self.starts + 1)

    def gave_up(self) -> State:
        """The release that was tried failed: go back."""
        return replace(self, phase="reverting", cause="failure")

    def worked(self) -> State:
        """The release that was tried is the current one now."""
        release = self._subject
        good = (*(one for one in self.good if one != release), release)
        failed = tuple(one for one in self.failed if one != release)
        return State(current=release, good=good, failed=failed, highest=max(self.highest, release))

    def roll_back(self, there: Collection[int]) -> State:
        """Leave the current release for the last good one before it.

        Args:
            there: releases whose folders are still there.

        Raises:
            NothingToRollBackToError: there is none.
        """
        if self.phase == "trying" and self.current is not None:
            return replace(self, phase="reverting", cause="wish")
        before = [one for one in self.good if one != self.current and one in there]
        if self.current is None or not before:
            raise NothingToRollBackToError(
                "there is no earlier release here that ran well",
                hint="install one by its name from a medium that carries it",
            )
        return replace(
            self, phase="reverting", release=self.current, current=before[-1], cause="wish"
        )

    def awaits_reboot(self) -> State:
        """The way back is switched; the next boot starts it."""
        return replace(self, phase="awaiting")

    def reverted(self) -> State:
        """The way back is done; what was left counts as failed."""
        release = self._subject
        good = tuple(one for one in self.good if one != release)
        failed = (*(one for one in self.failed if one != release), release)
        return State(current=self.current, good=good, failed=failed, highest=self.highest)

    def kept(self, keep: int) -> frozenset[int]:
        """The releases whose folders stay: the current, the one at work, ``keep`` in all.

        Args:
            keep: how many releases that went well stay, the current one included.
        """
        latest = self.good[-max(keep, 1) :]
        return frozenset({*latest, *(n for n in (self.current, self.release) if n is not None)})

    @property
    def _subject(self) -> int:
        if self.release is None:  # the reader saw to it that only idle has none
            raise PlaceError("the journal names no release", hint="see docs/target.md")
        return self.release


def parse(data: bytes, where: object) -> State:
    """Read a journal.

    Raises:
        PlaceError: it is not one. It is written atomically, so somebody changed it.
    """
    try:
        document = loads(data, where, LIMIT)
        return _state(document)
    except (RepackError, KeyError, TypeError, ValueError) as error:
        raise PlaceError(
            "the journal is damaged", where=where, got=str(error)[:200], hint="see docs/target.md"
        ) from error


def _state(document: object) -> State:
    if not isinstance(document, dict) or document["format"] != _FORMAT:
        raise ValueError("not a journal of this format")
    if document["phase"] not in get_args(Phase) or document["cause"] not in get_args(Cause):
        raise ValueError("no such phase or cause")
    numbers = [document["starts"], document["highest"], *document["good"], *document["failed"]]
    numbers += [n for n in (document["release"], document["current"]) if n is not None]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers):
        raise ValueError("a number is none")
    if (document["release"] is None) != (document["phase"] == "idle"):
        raise ValueError("phase and release do not fit together")
    return State(
        phase=document["phase"],
        release=document["release"],
        current=document["current"],
        good=tuple(document["good"]),
        failed=tuple(document["failed"]),
        starts=document["starts"],
        cause=document["cause"],
        highest=document["highest"],
    )
