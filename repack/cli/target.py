"""``repack target``: the agent on a machine without network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import key_options, options, output
from repack.cli.shared.groups import Group
from repack.codec.decode import encode
from repack.display import amount, counted, shown

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from repack.agent.context import AgentContext, AgentResult
    from repack.agent.status import Status
    from repack.names import LabelName

_RESULTS = {
    "installed": "release {release} runs",
    "unchanged": "release {release} is installed already",
    "reboot": "release {release} is ready: reboot, then `repack target run`",
    "restart": "release {release} is ready: restart the services, then `repack target run`",
    "rolled-back": "release {current} runs again",
    "given-up": "release {release} is given up; release {current} runs on",
}


_config = click.option(
    "--config",
    "configs",
    type=options.PATH,
    multiple=True,
    help="Settings, a file or a folder of *.toml [default: this system's places].",
)
_license_store = click.option(
    "--license-store",
    type=options.PATH,
    envvar="REPACK_LICENSE_STORE",
    help="The licence store, for labels that ask for one [default: the settings' own].",
)
_name = click.option("--name", help="A release by its number, such as 12 or halkbank@12.")


@click.group(cls=Group)
def command() -> None:
    """Install, run and roll back releases on a machine without network."""


def _context(
    configs: tuple[Path, ...], license_store: Path | None = None, factors: Path | None = None
) -> AgentContext:
    """The target as its settings describe it.

    Raises:
        SettingsError: lists every mistake in them.
    """
    from repack.agent.context import AgentContext

    def check_license(label: LabelName) -> None:
        store = license_store or context.license_store
        _check_license(label, store, factors, context.storage.clock().floor)

    context = AgentContext.of(configs, options.environment(), check_license, output.progress())
    return context


def _check_license(
    label: LabelName, store: Path | None, factors: Path | None, floor: datetime | None
) -> None:
    """See that this device has a valid licence for ``label``.

    Args:
        floor: the latest time seen signed; a clock that is behind it is not believed.

    Raises:
        LicenseError: it has none.
    """
    from repack.errors import LicenseError
    from repack.host import now
    from repack.license.factors import read_factors
    from repack.license.operations import LicenseQuery, store_status
    from repack.license.store import LicenseStore

    hint = "name it in [provision] license_store or --license-store; see `repack license status`"
    if store is None:
        raise LicenseError(f"label {label} asks for a licence", hint=hint)
    device, key = read_factors(factors), key_options.vendor(None)
    moment = max(now(), floor) if floor is not None else now()
    status = store_status(LicenseQuery(LicenseStore(store), device, moment, key, label))
    if status.issues or not any(verdict.is_right for verdict in status.verdicts):
        issues = [*status.issues, *(issue for v in status.verdicts for issue in v.issues)]
        raise LicenseError(
            f"this device has no valid licence for {label}",
            where=store,
            got=", ".join(dict.fromkeys(issues)) or "none",
            hint=hint,
        )


@command.command()
@click.option(
    "--src-dir",
    "source",
    type=options.FOLDER,
    envvar="REPACK_SRC_DIR",
    required=True,
    help="A channel, or a medium.",
)
@_name
@_license_store
@options.factors
@_config
@options.as_json
def install(
    source: Path, name: str | None, configs: tuple[Path, ...], *, as_json: bool, **values: Any
) -> int:
    """Install a release beside the one in use. 100: reboot, then run. 101: restart, then run."""
    from repack.agent import install

    return _emit_result(install.install(_context(configs, **values), source, name), as_json=as_json)


_assume_rebooted = click.option(
    "--assume-rebooted",
    is_flag=True,
    help="Do not look for a reboot: in a container, whose boot is its host's.",
)


@command.command()
@_assume_rebooted
@_license_store
@options.factors
@_config
@options.as_json
def run(configs: tuple[Path, ...], *, assume_rebooted: bool, as_json: bool, **values: Any) -> int:
    """Switch to the installed release and finish it; go back if it fails (110; 100: after a reboot)."""
    from repack.agent import run

    result = run.run(_context(configs, **values), assume_rebooted=assume_rebooted)
    return _emit_result(result, as_json=as_json)


@command.command()
@_assume_rebooted
@_config
@options.as_json
def rollback(configs: tuple[Path, ...], *, assume_rebooted: bool, as_json: bool) -> int:
    """Go back to the last release that ran well. 100: reboot, then run. 101: restart, then run."""
    from repack.agent.run import roll_back

    return _emit_result(
        roll_back(_context(configs), assume_rebooted=assume_rebooted), as_json=as_json
    )


@command.command()
@_config
@options.as_json
def status(configs: tuple[Path, ...], *, as_json: bool) -> int:
    """Say what is installed, what waits, what failed. 16: what is in use was recalled."""
    from repack.agent import status

    return _emit_status(status.status(_context(configs)), as_json=as_json)


@command.command()
@click.option(
    "-o",
    "--output",
    "path",
    type=options.FILE,
    required=True,
    help="The file to write; carry it to the vendor.",
)
@options.factors
@_config
@options.as_json
def receipt(path: Path, factors: Path | None, configs: tuple[Path, ...], *, as_json: bool) -> None:
    """Write what runs here into a file that this device signs, for `repack sites import`."""
    from repack.agent.receipt import make_receipt
    from repack.fs import atomic
    from repack.license.factors import read_factors

    context = _context(configs)
    made, data = make_receipt(context, read_factors(factors).fingerprint())
    atomic.write(path, data)
    runs = "nothing" if made.release is None else f"release {made.release}"
    lines = [
        f"{made.label}: receipt {made.number} of this device, {runs} in use: {shown(path)}",
        f"  key {made.key_id}: read it out when the vendor asks",
    ]
    if made.changed_count:
        lines.append(f"  {counted(made.changed_count, 'difference')} made by hand")
    fields = {"path": str(path), "key_id": made.key_id, **encode(made)}
    output.emit(fields, lines, as_json=as_json)


@command.command()
@click.option(
    "--src-dir",
    "source",
    type=options.FOLDER,
    envvar="REPACK_SRC_DIR",
    help="A channel, or a medium.",
)
@_name
@_config
@options.as_json
def check(
    source: Path | None, name: str | None, configs: tuple[Path, ...], *, as_json: bool
) -> None:
    """Compare what is installed with its release; with --src-dir, try what install would take."""
    from repack.agent.status import check_installed, check_medium

    context = _context(configs)
    if source is None:
        _emit_status(check_installed(context), as_json=as_json)
        return
    offer = check_medium(context, source, name)
    state = "is new here" if offer.new else "is installed already"
    contents = f"{offer.packages} packages, {amount(offer.bytes)}"
    line = f"{offer.label}: release {offer.release} {state}; {contents}"
    output.emit(offer, [line, *(f"  {note}" for note in offer.notes)], as_json=as_json)


@command.command()
@click.option(
    "--src-dir",
    "source",
    type=options.FOLDER,
    envvar="REPACK_SRC_DIR",
    help="A channel, or a medium; without one, the advisories that were brought last judge.",
)
@_config
@options.as_json
def advisories(source: Path | None, configs: tuple[Path, ...], *, as_json: bool) -> None:
    """Say which known vulnerabilities the release in use has, by the medium's advisories."""
    from repack.agent.advisories import judge_installed

    judged = judge_installed(_context(configs), source)
    output.emit(judged, judged.lines(), as_json=as_json)


def _emit_result(result: AgentResult, *, as_json: bool) -> int:
    """Print what was done and return the exit code."""
    text = _RESULTS[result.did].format(release=result.release, current=result.current)
    lines = [f"{result.label}: {text}", *(f"  {note}" for note in result.notes)]
    output.emit(result, lines, as_json=as_json)
    return result.exit_code


def _emit_status(status: Status, *, as_json: bool) -> int:
    """Print what is installed and return the exit code."""
    state = status.state
    in_use = "nothing" if status.in_use is None else f"release {status.in_use}"
    lines = [f"{status.label}: {in_use} in use, {status.platform}, {status.folder}"]
    if state.phase != "idle":
        next_step = {"reboot": "reboot, then run", "restart": "restart the services, then run"}
        awaits = f": {next_step.get(status.awaits, 'run')}" if status.awaits else ""
        lines.append(f"  release {state.release} is {state.phase}{awaits}")
    for outcome, numbers in (("ran well", state.good), ("failed", state.failed)):
        if numbers:
            lines.append(f"  {outcome}: {', '.join(map(str, numbers))}")
    for number, why in sorted(status.recalled.items()):
        place = ", which is in use," if number in status.recalled_in_use else ""
        lines.append(f"  release {number}{place} was recalled: {why}")
    output.emit(status, lines, as_json=as_json)
    return status.exit_code
