"""``repack target``: the agent on a machine without network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repack.cli.shared import key_options, options, output
from repack.cli.shared import license_store as portal

if TYPE_CHECKING:
    from collections.abc import Callable

    from repack.agent.context import AgentContext, AgentResult
    from repack.agent.status import Status
    from repack.names import LabelName

F = TypeVar("F", bound="Callable[..., Any]")
_PATH = click.Path(path_type=Path)
_SAYS = {
    "installed": "release {release} runs",
    "unchanged": "release {release} is installed already",
    "reboot": "release {release} is ready: reboot, then `repack target run`",
    "restart": "release {release} is ready: restart the services, then `repack target run`",
    "rolled-back": "release {current} runs again",
    "given-up": "release {release} is given up; release {current} runs on",
}


@click.group()
def command() -> None:
    """Install, run and roll back releases on a machine without network."""


def on_site(command: F) -> F:
    """The options of every command here."""
    config = click.option(
        "--config",
        "configs",
        type=_PATH,
        multiple=True,
        help="Settings, a file or a folder of *.toml [default: this system's places].",
    )
    return config(options.as_json(command))


def licensed(command: F) -> F:
    """The options of commands that may ask for a licence."""
    store = click.option(
        "--license-store",
        type=_PATH,
        envvar="REPACK_LICENSE_STORE",
        help="The licence store, for labels that ask for one [default: the settings' own].",
    )
    return store(portal.factors(command))


def source(command: F) -> F:
    """The options of commands that read a medium."""
    folder = click.option(
        "--src-dir", "source", type=options.FOLDER, required=True, help="A channel, or a medium."
    )
    name = click.option("--name", help="A release by its number, such as 12 or halkbank@12.")
    return folder(name(command))


def site_of(
    configs: tuple[Path, ...], license_store: Path | None = None, factors: Path | None = None
) -> AgentContext:
    """The target as its settings describe it.

    Raises:
        SettingsError: lists every mistake in them.
    """
    from repack.agent.context import AgentContext

    def ask(label: LabelName) -> None:
        ask_license(label, license_store or site.license_store, factors)

    site = AgentContext.of(configs, options.environment(), ask, output.progress())
    return site


def ask_license(label: LabelName, store: Path | None, factors: Path | None) -> None:
    """See that this device has a valid licence for ``label``.

    Raises:
        LicenseError: it has none.
    """
    from repack.errors import LicenseError
    from repack.host import now
    from repack.license import factors as host
    from repack.license.operations import LicenseQuery, store_status
    from repack.license.store import LicenseStore

    hint = "name it in [provision] license_store or --license-store; see `repack license status`"
    if store is None:
        raise LicenseError(f"label {label} asks for a licence", hint=hint)
    key = key_options.vendor(None)
    finding = store_status(
        LicenseQuery(LicenseStore(store), host.read_factors(factors), now(), key, label)
    )
    if finding.issues or not any(verdict.is_right for verdict in finding.verdicts):
        issues = [*finding.issues, *(i for v in finding.verdicts for i in v.issues)]
        raise LicenseError(
            f"this device has no valid licence for {label}",
            where=store,
            got=", ".join(dict.fromkeys(issues)) or "none",
            hint=hint,
        )


@command.command()
@source
@licensed
@on_site
def install(
    source: Path, name: str | None, configs: tuple[Path, ...], *, as_json: bool, **given: Any
) -> int:
    """Install a release beside the one in use. 100: reboot, then run. 101: restart, then run."""
    from repack.agent.install import install as do

    return tell(do(site_of(configs, **given), source, name), as_json=as_json)


@command.command()
@licensed
@on_site
def run(configs: tuple[Path, ...], *, as_json: bool, **given: Any) -> int:
    """Switch to the installed release and finish it; go back if it fails (110)."""
    from repack.agent.run import run as do

    return tell(do(site_of(configs, **given)), as_json=as_json)


@command.command()
@on_site
def rollback(configs: tuple[Path, ...], *, as_json: bool) -> int:
    """Go back to the last release that ran well, at once."""
    from repack.agent.run import roll_back

    return tell(roll_back(site_of(configs)), as_json=as_json)


@command.command()
@on_site
def status(configs: tuple[Path, ...], *, as_json: bool) -> None:
    """Say what is installed, what waits, what failed."""
    from repack.agent import status as agent_status

    show(agent_status.status(site_of(configs)), as_json=as_json)


@command.command()
@click.option("--src-dir", "source", type=options.FOLDER, help="A channel, or a medium.")
@click.option("--name", help="A release by its number, such as 12 or halkbank@12.")
@on_site
def check(
    source: Path | None, name: str | None, configs: tuple[Path, ...], *, as_json: bool
) -> None:
    """Compare what is installed with its release; with --src-dir, try what install would take."""
    from repack.agent import status as agent_status

    site = site_of(configs)
    if source is None:
        show(agent_status.check_installed(site), as_json=as_json)
        return
    offer = agent_status.check_medium(site, source, name)
    if as_json:
        output.print_json(offer.to_json())
        return
    state = "is new here" if offer.new else "is installed already"
    size = output.amount(offer.bytes)
    click.echo(f"{offer.label}: release {offer.release} {state}; {offer.packages} packages, {size}")


def tell(done: AgentResult, *, as_json: bool) -> int:
    """Print what was done and return the exit code."""
    if as_json:
        output.print_json(done.to_json())
    else:
        says = _SAYS[done.did].format(release=done.release, current=done.current)
        click.echo(f"{done.label}: {says}")
        for note in done.notes:
            click.echo(f"  {note}")
    return done.exit_code


def show(status: Status, *, as_json: bool) -> None:
    """Print what stands here."""
    if as_json:
        output.print_json(status.to_json())
        return
    state = status.state
    in_use = "nothing" if status.in_use is None else f"release {status.in_use}"
    click.echo(f"{status.label}: {in_use} in use, {status.platform}, {status.folder}")
    if state.phase != "idle":
        click.echo(f"  release {state.release} is {state.phase}")
    for what, numbers in (("ran well", state.good), ("failed", state.failed)):
        if numbers:
            click.echo(f"  {what}: {', '.join(map(str, numbers))}")
