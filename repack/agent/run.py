"""Run and roll back: switch to a release, see that it works, go back if not.

The journal is written before each part and every part can be done again, so a power cut at any
instant leaves the old release or the new one in use, and the next call carries on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from repack.agent.context import AgentResult
from repack.channel.install_plan import TargetPolicy
from repack.errors import (
    NothingPendingError,
    PlaceError,
    RepackError,
    RollbackAwaitsRebootError,
    RollbackFailedError,
    RolledBackError,
)
from repack.prefix import commands as services

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.agent.context import AgentContext
    from repack.agent.state import State

_SERVICE_TIMEOUT = 600


def run(site: AgentContext) -> AgentResult:
    """Switch to the release that waits and finish it, or go back.

    Raises:
        NothingPendingError: nothing waits.
        RolledBackError: it failed; the release before runs again.
        RollbackAwaitsRebootError: it failed; the release before runs again after a reboot.
        RollbackFailedError: it failed, and so did the way back.
        LicenseError: the label asks for a licence, and this device has none; it waits on.
        BusyError: another agent works on it.
    """
    with site.at_work():
        settle(site)
        return finish(site)


def finish(site: AgentContext) -> AgentResult:
    """The work of :func:`run`, for one who holds the label."""
    state = site.device.load().start()
    if state.phase == "awaiting":
        return go_back(site, state, RepackError("it failed before the reboot"))
    if state.phase == "reverting":
        return go_back(site, state, RepackError("it was started too often without success"))
    release = _number(state)
    wishes = _wishes(site, release)
    if wishes.needs_license:
        site.licensed(site.label)
    site.device.save(state)
    try:
        switch(site, release)
        start(site, release, wishes)
    except RepackError as error:
        site.progress.note(f"release {release} failed: {error.text()}")
        state = state.gave_up()
        site.device.save(state)
        return go_back(site, state, error)
    state = state.worked()
    site.device.save(state)
    return AgentResult(site.label, "installed", release, release, site.tidy())


def roll_back(site: AgentContext) -> AgentResult:
    """Go back to the last release that went well, at once.

    A release that waits for ``run`` is given up instead.

    Raises:
        NothingToRollBackToError: there is none.
        RollbackFailedError: the way back failed.
        BusyError: another agent works on it.
    """
    with site.at_work():
        settle(site)
        state = site.device.load()
        if state.phase == "pending" and state.current is not None:
            given_up = _number(state)
            state = state.dropped()
            site.device.save(state)
            return AgentResult(site.label, "given-up", given_up, state.current, site.tidy())
        if state.phase not in ("reverting", "awaiting"):
            state = state.roll_back(site.device.whole())
        state = replace(state, phase="reverting", cause="wish")
        site.device.save(state)
        return go_back(site, state, None)


def settle(site: AgentContext) -> None:
    """Clear away what a filling left that was cut off."""
    state = site.device.load()
    if state.phase == "filling":
        release = _number(state)
        site.progress.note(f"the installation of release {release} was cut off; it is taken back")
        site.device.discard(release)
        site.device.clean()
        site.device.save(state.dropped())


def switch(site: AgentContext, release: int | None) -> None:
    """Stop the services and point to another release, or to none.

    Raises:
        PlaceError: a service does not stop, or the system refuses; or the release is gone.
    """
    if release is not None and release not in site.device.whole():
        raise PlaceError("the release is not whole", where=site.device.prefix(release))
    _run_all(site, site.settings.services.stop)
    site.device.pointer.set(release)


def start(site: AgentContext, release: int, wishes: TargetPolicy) -> None:
    """Start the services with a release and see whether it is well.

    Raises:
        PlaceError: a service does not start, or a health check fails.
    """
    given = site.settings.services
    # Services that only know how to restart get that instead of stop and start.
    _run_all(site, given.start or given.restart)
    prefix = site.device.prefix(release)
    checks = [wishes.health_check] if wishes.health_check else []
    for command in (*checks, *site.settings.health.commands):
        services.run(command, prefix, site.environment, site.settings.health.timeout)


def go_back(site: AgentContext, state: State, failure: RepackError | None) -> AgentResult:
    """Carry out the way back that the journal holds.

    Args:
        failure: why; None when an administrator wished it.

    Raises:
        RolledBackError: done, because of a failure.
        RollbackAwaitsRebootError: switched; a reboot is needed.
        RollbackFailedError: it did not work.
    """
    left, to = _number(state), state.current
    reason = failure.text() if failure is not None else None
    try:
        if state.phase == "reverting":
            switch(site, to)
        if state.phase == "awaiting" or not _needs_reboot(site, state):
            _restart_with(site, to)
    except PlaceError as error:
        site.device.save(state.reverted())
        site.tidy()
        raise RollbackFailedError(
            f"release {left} was left, and there is none before it that works",
            where=site.label,
            got="\n".join(filter(None, (reason, error.text()))),
            hint="nothing may be running; see docs/target.md",
        ) from error
    if state.phase == "reverting" and _needs_reboot(site, state):
        site.device.save(state.awaits_reboot())
        raise RollbackAwaitsRebootError(
            f"release {left} failed; release {to} is back after a reboot",
            where=site.label,
            got=reason,
            hint="reboot, then `repack target run`",
        )
    site.device.save(state.reverted())
    notes = site.tidy()
    if failure is None or state.cause == "wish":
        return AgentResult(site.label, "rolled-back", left, to, notes)
    raise RolledBackError(
        f"release {left} failed; release {to} runs again",
        where=site.label,
        got=reason,
        hint="it is not taken again unless it is named",
    )


def follows_install(site: AgentContext, state: State) -> bool:
    """Whether the release at work is one that ``install`` runs at once."""
    return _wishes(site, _number(state)).after_install == "none"


def _needs_reboot(site: AgentContext, state: State) -> bool:
    """Whether the way back ends with the next boot; one that somebody wishes for never does."""
    if state.cause == "wish" or state.current is None:
        return False
    return _wishes(site, _number(state)).after_install == "reboot"


def _restart_with(site: AgentContext, release: int | None) -> None:
    if release is None:
        raise PlaceError("there was no release before it")
    start(site, release, _wishes(site, release))


def _run_all(site: AgentContext, commands: Sequence[Sequence[str]]) -> None:
    for command in commands:
        services.run(command, None, site.environment, _SERVICE_TIMEOUT)


def _wishes(site: AgentContext, release: int) -> TargetPolicy:
    """What the label asked for with a release; nothing if its paper is gone."""
    if release not in site.device.whole():
        return TargetPolicy()
    return site.device.delivery(release).wishes


def _number(state: State) -> int:
    if state.release is None:
        raise NothingPendingError("nothing waits for `run`")
    return state.release
