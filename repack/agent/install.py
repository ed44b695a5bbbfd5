"""Install: take a release from a medium and fill a new environment beside the old one.

What is in use is not touched before the journal says ``pending``: then the new environment is
whole, compared with the manifest, and on the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.agent import environment, run
from repack.agent.accept import InstallRequest, accept
from repack.agent.context import AgentResult
from repack.agent.fill import fill
from repack.agent.medium import Medium
from repack.errors import ChangedByHandError

if TYPE_CHECKING:
    from pathlib import Path

    from repack.agent.context import AgentContext
    from repack.agent.state import State
    from repack.channel.install_plan import InstallPlan

_SHOWN: Final = 20


def install(site: AgentContext, source: Path, name: str | None = None) -> AgentResult:
    """Install the newest release that fits, or the one that is named, from a medium.

    Args:
        site: the target.
        source: a channel, or a folder of channels.
        name: ``12`` or ``halkbank@12``.

    Raises:
        RunAwaitedError: another release waits for ``run``.
        TargetError: the medium is refused; or the release failed in ``run``, see there.
        LicenseError: the label asks for a licence, and this device has none.
        TargetSpaceError: the disk is full, or would be.
        BusyError: another agent works on it.
    """
    with site.at_work():
        state = _ready(site)
        medium = Medium.find(source, site.label)
        accepted = accept(site, medium, state, InstallRequest(name, site.device.trust))
        site.device.raise_floor(accepted.floor)
        for note in accepted.notes:
            site.progress.note(f"warning: {note}")
        number = accepted.signed.number
        if number == state.current and site.device.pointer.get() == number:
            _check_unchanged(site, site.device.delivery(number))
            return AgentResult(site.label, "unchanged", number, number, site.tidy())
        if number in site.device.whole():
            delivery = site.device.delivery(number)
            _check_license(site, delivery)
            _check_unchanged(site, delivery)
            site.device.save(state.fill(number).filled())
        else:
            release = medium.release(accepted.signed)
            delivery = release.delivery(site.platform)
            _check_license(site, delivery)
            fill(site, state, release, delivery)
        if delivery.wishes.after_install == "none":
            return run.finish(site)
        did = delivery.wishes.after_install
        return AgentResult(site.label, did, number, state.current, accepted.notes)


def _ready(site: AgentContext) -> State:
    """The journal, once what was cut off is cleared away; no release waits for ``run``."""
    run.settle(site)
    state = site.device.load()
    if state.phase == "reverting":
        run.go_back(site, state, None)
    elif state.phase in ("pending", "trying") and run.follows_install(site, state):
        run.finish(site)  # an installation was cut off just before, or in, its second half
    state = site.device.load()
    state.must_be_free()
    return state


def _check_license(site: AgentContext, delivery: InstallPlan) -> None:
    if delivery.wishes.needs_license:
        site.licensed(site.label)


def _check_unchanged(site: AgentContext, delivery: InstallPlan) -> None:
    prefix = site.device.prefix(delivery.release)
    if found := environment.packages(prefix, delivery):
        raise ChangedByHandError(
            f"release {delivery.release} was changed by hand since it was installed",
            where=prefix,
            got="; ".join(found[:_SHOWN]),
            hint="it is left as it is; install another release, or roll back",
        )
