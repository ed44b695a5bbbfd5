"""Install: take a release from a medium and fill a new environment beside the old one.

What is in use is not touched before the journal says ``pending``. By then the new environment is
whole, was compared with the manifest, and is flushed to the disk.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from repack import host
from repack.agent import environment, run
from repack.agent.accept import InstallRequest, accept, accept_metadata, take_first_whole
from repack.agent.context import AgentResult
from repack.agent.fill import fill
from repack.agent.medium import Medium
from repack.agent.storage import RememberedClock
from repack.errors import ChangedByHandError, RepackError
from repack.trust.recalls import describe_recalls

if TYPE_CHECKING:
    from pathlib import Path

    from repack.agent.context import AgentContext
    from repack.agent.state import State
    from repack.channel.install_plan import InstallPlan
    from repack.trust.selection import SignedRelease

_SHOWN: Final = 20


def install(context: AgentContext, source: Path, name: str | None = None) -> AgentResult:
    """Install the newest release that fits, or the one that is named, from a medium.

    Args:
        source: a channel, or a folder of channels.
        name: ``12`` or ``halkbank@12``.

    Raises:
        RunAwaitedError: another release waits for ``run``.
        RecalledError: the release that is named, or every one that fits, was recalled.
        TargetError: the medium is refused; or the release failed in ``run``, see there.
        LicenseError: the label asks for a licence, and this device has none.
        TargetSpaceError: the disk is full, or would be.
        BusyError: another agent works on it.
    """
    with context.locked("install"):
        run.take_back_filling(context)
        _learn_recalls(context, source)
        state = _ready(context)
        medium = Medium.find(source, context.label)
        accepted = accept(context, medium, state, InstallRequest(name, context.storage.trust))
        context.storage.save_clock(RememberedClock(accepted.floor, accepted.clock_reset))
        context.log(
            "accepted", medium=str(medium.folder), releases=[r.number for r in accepted.candidates]
        )
        result, notes = take_first_whole(
            accepted, lambda signed: _take(context, state, medium, signed)
        )
        for note in notes:
            context.progress.note(f"warning: {note}")
            context.log("note", note=note)
        if result is None:
            result = run.finish(context)
        return replace(result, notes=(*result.notes, *notes))


def _take(
    context: AgentContext, state: State, medium: Medium, signed: SignedRelease
) -> AgentResult | None:
    """Make a release ready; None when it is to be run at once.

    Raises:
        ContentMissingError: it is not whole on the medium; the target is as it was.
        RepackError: as :func:`install` says.
    """
    number = signed.number
    if number == state.current and context.storage.pointer.get() == number:
        _check_unchanged(context, context.storage.install_plan(number))
        context.log("unchanged", release=number)
        return AgentResult(
            context.label, "unchanged", number, number, context.remove_old_releases()
        )
    if number in context.storage.installed():
        plan = context.storage.install_plan(number)
        _check_license(context, plan)
        _check_unchanged(context, plan)
        action = context.action_after(plan, state.current)
        context.storage.save(state.fill(number, action, host.boot_id()).filled())
    else:
        release = medium.release(signed)
        plan = release.install_plan(context.platform)
        _check_license(context, plan)
        fill(context, state, release, plan)
    action = context.storage.load().awaits
    context.log("installed", release=number, current=state.current, awaits=action)
    if action == "none":
        return None
    return AgentResult(context.label, action, number, state.current)


def _learn_recalls(context: AgentContext, source: Path) -> None:
    """While a release waits for ``run``, see whether the medium recalls it.

    A medium that is refused says nothing here; why it is refused is said when it is installed from.
    """
    if context.storage.load().phase in ("pending", "trying"):
        with contextlib.suppress(RepackError):
            medium = Medium.find(source, context.label)
            accept_metadata(context, medium, InstallRequest(None, context.storage.trust))


def _ready(context: AgentContext) -> State:
    """Finish or undo what was cut off before, and read the journal.

    Raises:
        RunAwaitedError: a release waits for ``run``.
    """
    state = context.storage.load()
    if state.phase == "pending" and state.release in (recalled := context.storage.recalled()):
        # Nothing was switched to it yet; waiting for a `run` that refuses it would last for ever
        note = describe_recalls(recalled, [state.release])
        context.progress.note(f"{note}; it is given up")
        context.log("given-up", release=state.release, current=state.current, why=note)
        context.storage.save(state.dropped())
        state = context.storage.load()
    if state.phase == "reverting":
        run.go_back(context, state, None)
    elif state.phase in ("pending", "trying") and state.awaits == "none":
        run.finish(context)  # an installation was cut off just before, or in, its second half
    state = context.storage.load()
    state.must_be_free()
    return state


def _check_license(context: AgentContext, plan: InstallPlan) -> None:
    if plan.policy.needs_license:
        context.check_license(context.label)


def _check_unchanged(context: AgentContext, plan: InstallPlan) -> None:
    prefix = context.storage.prefix(plan.release)
    if differences := environment.compare_packages(prefix, plan):
        raise ChangedByHandError(
            f"release {plan.release} was changed by hand since it was installed",
            where=prefix,
            got="; ".join(differences[:_SHOWN]),
            hint="it is left as it is; install another release, or roll back",
        )
