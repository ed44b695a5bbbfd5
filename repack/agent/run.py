"""Run and roll back: switch to a release, check that it works, go back if not.

The journal is written before each step and every step can be done again. A power cut at any instant
therefore leaves the old release or the new one in use, and the next call carries on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from repack import host
from repack.agent.context import AgentResult
from repack.channel.install_plan import TargetPolicy
from repack.errors import (
    NothingPendingError,
    NothingToRollBackToError,
    PlaceError,
    RepackError,
    RollbackAwaitsRebootError,
    RollbackFailedError,
    RolledBackError,
)
from repack.prefix import commands
from repack.trust.recalls import recalled_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.agent.context import AgentContext
    from repack.agent.state import State

_SERVICE_TIMEOUT = 600


def run(context: AgentContext, *, assume_rebooted: bool = False) -> AgentResult:
    """Switch to the release that waits and finish it, or go back.

    Where a reboot was asked for and this is still the same boot, nothing is done and it is asked
    for again.

    Args:
        assume_rebooted: for containers, whose boot is their host's.

    Raises:
        NothingPendingError: nothing waits.
        RolledBackError: it failed; the release before runs again.
        RollbackAwaitsRebootError: it failed; the release before runs again after a reboot.
        RollbackFailedError: it failed, and so did the way back.
        RecalledError: the release that waits was recalled meanwhile; it waits on.
        LicenseError: the label asks for a licence, and this device has none; it waits on.
        BusyError: another agent works on it.
    """
    with context.locked("run"):
        take_back_filling(context)
        return finish(context, assume_rebooted=assume_rebooted)


def finish(context: AgentContext, *, assume_rebooted: bool = False) -> AgentResult:
    """Do what :func:`run` does while the label is locked already."""
    state, recalled = context.storage.load(), context.storage.recalled()
    if state.phase == "pending" and state.release in recalled:
        hint = "install another release, or give it up by `repack target rollback`"
        raise recalled_error(recalled, [_release(state)], hint)
    waits = state.awaits == "reboot" and state.phase in ("pending", "awaiting")
    if waits and not assume_rebooted and host.is_same_boot(state.boot, host.boot_id()):
        return _ask_for_reboot(context, state, "this machine was not restarted since then")
    state = state.start()
    if state.phase == "awaiting":
        return go_back(context, state, RepackError("it failed before the reboot"))
    if state.phase == "reverting":
        return go_back(context, state, RepackError("it was started too often without success"))
    release = _release(state)
    policy = _policy(context, release)
    if policy.needs_license:
        context.check_license(context.label)
    # "trying", with the start counted: a release that takes the machine down with it is started
    # MAX_STARTS times and then left.
    context.storage.save(state)
    context.log("trying", release=release, current=state.current, start=state.starts)
    try:
        if release in recalled:  # cut off in the middle, and recalled before it went on
            raise recalled_error(recalled, [release], "install another release")
        switch(context, release)
        start(context, release, policy)
    except RepackError as error:
        context.progress.note(f"release {release} failed: {error.text()}")
        context.log("failed", release=release, why=error.text())
        # Written before the way back begins, so that a power cut in it is no new attempt.
        state = state.gave_up()
        context.storage.save(state)
        return go_back(context, state, error)
    state = state.worked()
    context.storage.save(state)
    context.log("works", release=release)
    return AgentResult(context.label, "installed", release, release, context.remove_old_releases())


def roll_back(context: AgentContext, *, assume_rebooted: bool = False) -> AgentResult:
    """Go back to the last release that went well.

    A release that waits for ``run`` is given up instead. Where the label asks for a reboot or a
    restart, ``run`` ends it after that.

    Raises:
        NothingToRollBackToError: there is none.
        RecalledError: each that there is was recalled.
        RollbackFailedError: the way back failed.
        BusyError: another agent works on it.
    """
    with context.locked("rollback"):
        take_back_filling(context)
        state = context.storage.load()
        if state.phase == "pending" and state.current is not None:
            given_up = _release(state)
            state = state.dropped()
            context.storage.save(state)
            context.log("given-up", release=given_up, current=state.current)
            return AgentResult(
                context.label, "given-up", given_up, state.current, context.remove_old_releases()
            )
        if state.phase == "awaiting":
            return finish(context, assume_rebooted=assume_rebooted)
        if state.phase != "reverting":
            state = _earlier(context, state)
            if (left := _release(state)) in context.storage.installed():
                plan = context.storage.install_plan(left)
                state = replace(state, awaits=context.action_after(plan, state.current))
        state = replace(state, phase="reverting", cause="wish")
        context.storage.save(state)
        return go_back(context, state, None)


def _earlier(context: AgentContext, state: State) -> State:
    """The way back to the last good release that was not recalled.

    Raises:
        NothingToRollBackToError: there is no earlier one.
        RecalledError: each that there is was recalled.
    """
    recalled, installed = context.storage.recalled(), context.storage.installed()
    try:
        return state.roll_back([number for number in installed if number not in recalled])
    except NothingToRollBackToError:
        state.roll_back(installed)  # raises for the same reason, if recalls are not the reason
        earlier = [n for n in state.good if n in installed and n in recalled and n != state.current]
        hint = "install a newer release from a medium"
        raise recalled_error(recalled, earlier[::-1], hint) from None


def take_back_filling(context: AgentContext) -> None:
    """Remove what an installation left that was cut off."""
    state = context.storage.load()
    if state.phase == "filling":
        release = _release(state)
        context.progress.note(
            f"the installation of release {release} was cut off; it is taken back"
        )
        context.log("cut-off", release=release)
        context.storage.discard(release)
        context.storage.clean()
        context.storage.save(state.dropped())


def switch(context: AgentContext, release: int | None) -> None:
    """Stop the services and point to another release, or to none.

    Raises:
        PlaceError: a service does not stop, or the system refuses; or the release is gone.
    """
    if release is not None and release not in context.storage.installed():
        raise PlaceError("the release is not whole", where=context.storage.prefix(release))
    _run_all(context, context.settings.services.stop)
    context.storage.pointer.set(release)


def start(context: AgentContext, release: int, policy: TargetPolicy) -> None:
    """Start the services with a release and run the health checks.

    Raises:
        PlaceError: a service does not start, or a health check fails.
    """
    services = context.settings.services
    # Services that only know how to restart get that instead of stop and start.
    _run_all(context, services.start or services.restart)
    prefix = context.storage.prefix(release)
    label_checks = [policy.health_check] if policy.health_check else []
    for command in (*label_checks, *context.settings.health.commands):
        commands.run(command, prefix, context.environment, context.settings.health.timeout)


def go_back(context: AgentContext, state: State, failure: RepackError | None) -> AgentResult:
    """Leave the release at work for the one before it, as the journal says.

    Args:
        failure: why; None when an administrator asked for it.

    Raises:
        RolledBackError: done, because of a failure.
        RollbackAwaitsRebootError: switched; a reboot is needed.
        RollbackFailedError: it did not work.
    """
    left, to, waits_for = _release(state), state.current, state.back_awaits
    reason = failure.text() if failure is not None else None
    try:
        if state.phase == "reverting":
            context.log(
                "going-back", left=left, to=to, cause=state.cause, awaits=waits_for, why=reason
            )
            switch(context, to)
        if waits_for == "none":
            if to is None:
                raise PlaceError("there was no release before it")  # noqa: TRY301 - as one that does not start
            start(context, to, _policy(context, to))
    except PlaceError as error:
        context.storage.save(state.reverted())
        context.remove_old_releases()
        raise RollbackFailedError(
            f"release {left} was left, and there is none before it that works",
            where=context.label,
            got="\n".join(filter(None, (reason, error.text()))),
            hint="nothing may be running; see docs/target.md",
        ) from error
    if waits_for != "none":
        state = state.switched_back(host.boot_id())
        context.storage.save(state)
        if waits_for == "restart":
            return AgentResult(context.label, "restart", to, to)
        return _ask_for_reboot(context, state, reason)
    context.storage.save(state.reverted())
    context.log("back", left=left, current=to)
    notes = context.remove_old_releases()
    if failure is None or state.cause == "wish":
        return AgentResult(context.label, "rolled-back", left, to, notes)
    raise RolledBackError(
        f"release {left} failed; release {to} runs again",
        where=context.label,
        got=reason,
        hint="it is not taken again unless it is named",
    )


def _ask_for_reboot(context: AgentContext, state: State, why: str | None) -> AgentResult:
    """What ``run`` and ``rollback`` answer until the machine was rebooted.

    Raises:
        RollbackAwaitsRebootError: for the way back from a release that failed.
    """
    context.log("reboot-needed", release=state.release, current=state.current, why=why)
    if state.phase == "awaiting" and state.cause == "failure":
        raise RollbackAwaitsRebootError(
            f"release {state.release} failed; release {state.current} is back after a reboot",
            where=context.label,
            got=why,
            hint="reboot, then `repack target run`",
        )
    release = state.current if state.phase == "awaiting" else state.release
    return AgentResult(
        context.label, "reboot", release, context.storage.pointer.get(), (why,) if why else ()
    )


def _run_all(context: AgentContext, services: Sequence[Sequence[str]]) -> None:
    for command in services:
        commands.run(command, None, context.environment, _SERVICE_TIMEOUT)


def _policy(context: AgentContext, release: int) -> TargetPolicy:
    """What the label asks for with a release; nothing if it is not installed any more."""
    if release not in context.storage.installed():
        return TargetPolicy()
    return context.storage.install_plan(release).policy


def _release(state: State) -> int:
    if state.release is None:
        raise NothingPendingError("nothing waits for `run`")
    return state.release
