"""The journal of an agent: a pure state machine of what is going on and what may happen next.

The agent writes the new state first and then does what the state asks for. Everything that it does
can be done again, so after a power cut the next call reads the state and carries on:

=============  ===========================================================================
phase          what the target looks like, at any instant
=============  ===========================================================================
``idle``       ``current`` is in use; nothing else is going on
``filling``    ``current`` is in use; the folder of ``release`` may be half there
``pending``    ``current`` is in use; ``release`` is whole and waits for ``run``
``trying``     ``release`` is being switched to and looked at; either may be in use
``reverting``  ``release`` is being left for ``current``; either may be in use
``awaiting``   ``current`` is switched to again; it starts after a reboot or restart, by ``run``
=============  ===========================================================================

A release that failed, or that somebody rolled back from, is not taken again unless it is named.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from repack.codec.canonical import loads
from repack.codec.decode import decode
from repack.errors import (
    IntegrityError,
    NothingPendingError,
    NothingToRollBackToError,
    PlaceError,
    RunAwaitedError,
)

if TYPE_CHECKING:
    from collections.abc import Collection


Phase = Literal["idle", "filling", "pending", "trying", "reverting", "awaiting"]
Cause = Literal["failure", "wish"]
Awaits = Literal["none", "restart", "reboot"]
Count = Annotated[int, Meta(ge=0)]

MAX_STARTS: Final = 3
"""A release that was started so often and never got through its health check is given up."""
JOURNAL_LIMIT: Final = 1 << 20
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
        awaits: what the switch between ``release`` and ``current`` asks for, in either direction.
        boot: the boot in which it was asked for, where the system tells.
    """

    phase: Phase = "idle"
    release: Count | None = None
    current: Count | None = None
    good: tuple[Count, ...] = ()
    failed: tuple[Count, ...] = ()
    starts: Count = 0
    cause: Cause = "failure"
    highest: Count = 0
    awaits: Awaits = "none"
    boot: str | None = None

    def to_bytes(self) -> bytes:
        """The journal file."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1).encode() + b"\n"

    def must_be_free(self) -> None:
        """Check that another release can be installed.

        Raises:
            RunAwaitedError: one waits for ``run``.
        """
        if self.phase in ("pending", "trying", "awaiting"):
            raise RunAwaitedError(
                f"release {self.release} waits for `repack target run`",
                hint="run it, or give it up by `repack target rollback`",
            )

    def fill(self, release: int, awaits: Awaits = "none", boot: str | None = None) -> State:
        """Begin to fill the folder of ``release``.

        Args:
            awaits: what the switch to it asks for.
            boot: this boot.

        Raises:
            RunAwaitedError: another one waits for ``run``.
        """
        self.must_be_free()
        return replace(self, phase="filling", release=release, starts=0, awaits=awaits, boot=boot)

    def filled(self) -> State:
        """The folder is whole and on the disk."""
        return replace(self, phase="pending")

    def dropped(self) -> State:
        """What was being filled, or waited, is given up; it did not fail."""
        return replace(self, phase="idle", release=None, starts=0, awaits="none", boot=None)

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
        good = (*(number for number in self.good if number != release), release)
        failed = tuple(number for number in self.failed if number != release)
        return State(current=release, good=good, failed=failed, highest=max(self.highest, release))

    def roll_back(self, installed: Collection[int]) -> State:
        """Leave the current release for the last good one before it.

        Args:
            installed: releases whose folders are still whole.

        Raises:
            NothingToRollBackToError: there is none.
        """
        if self.phase == "trying" and self.current is not None:
            return replace(self, phase="reverting", cause="wish")
        earlier = [n for n in self.good if n != self.current and n in installed]
        if self.current is None or not earlier:
            raise NothingToRollBackToError(
                "there is no earlier release here that ran well",
                hint="install one by its name from a medium that carries it",
            )
        return replace(
            self, phase="reverting", release=self.current, current=earlier[-1], cause="wish"
        )

    @property
    def back_awaits(self) -> Awaits:
        """What the way back asks for before it can end.

        One because of a failure does not wait for a restart of the services: it is over at once.
        """
        if self.phase == "awaiting" or self.current is None:
            return "none"
        return "none" if self.cause == "failure" and self.awaits == "restart" else self.awaits

    def switched_back(self, boot: str | None) -> State:
        """The way back is switched; ``run`` ends it after the reboot or restart."""
        return replace(self, phase="awaiting", boot=boot)

    def reverted(self) -> State:
        """The way back is done; what was left counts as failed."""
        release = self._subject
        good = tuple(number for number in self.good if number != release)
        failed = (*(number for number in self.failed if number != release), release)
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
        if self.release is None:  # parse_journal refuses a phase other than idle without one
            raise PlaceError("the journal names no release", hint="see docs/target.md")
        return self.release


def parse_journal(data: bytes, where: object) -> State:
    """Read a journal.

    Raises:
        PlaceError: it is not one. It is written atomically, so somebody changed it.
    """
    try:
        return _decode(loads(data, where, JOURNAL_LIMIT), where)
    except IntegrityError as error:
        raise PlaceError(
            "the journal is damaged", where=where, got=str(error)[:200], hint="see docs/target.md"
        ) from error


def _decode(document: object, where: object) -> State:
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise IntegrityError("not a journal of this format")
    # A new target's state is made of defaults; a journal has every field.
    if missing := {*State.__struct_fields__} - {"awaits", "boot"} - document.keys():
        raise IntegrityError(f"{', '.join(sorted(missing))} is missing")
    state = decode(State, document, where, "journal")
    if (state.release is None) != (state.phase == "idle"):
        raise IntegrityError("phase and release do not fit together")
    return state
