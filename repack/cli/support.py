"""``repack support``: what first line hands on to second line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from repack.cli.shared import options, output
from repack.cli.shared.groups import Group
from repack.errors import RepackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from repack.support.bundle import Collected

_PLACES: Final = (Path("var/log"), Path("var/reports"), Path("var/dist/notary"), Path("logs"))


@click.group(cls=Group)
def command() -> None:
    """Collect what second-line support needs."""


@command.command()
@click.option(
    "-o", "--output", "path", type=options.PATH, help="[default: var/support/support-TIME.zip]"
)
@click.option("--log", "more", type=options.PATH, multiple=True, help="A file or folder to add.")
@click.option(
    "--license-store",
    type=options.PATH,
    default=Path("secrets/license_store.json"),
    show_default=True,
    help="Its state is told; the store itself stays here.",
)
@click.option(
    "--config",
    "configs",
    type=options.PATH,
    multiple=True,
    help="Settings of the agent, whose log is added [default: this system's places].",
)
@options.factors
@options.channels_dir
@options.store
@options.as_json
def bundle(**values: Any) -> None:
    """Collect logs, status, versions and reports, without secrets, and say what is in it."""
    from repack import host
    from repack.support.bundle import Request, collect
    from repack.support.redact import secrets_of

    now = host.now()
    path = values["path"] or Path(f"var/support/support-{now:%Y%m%dT%H%M%SZ}.zip")
    places = [place for place in (*_PLACES, *_agent_logs(values["configs"])) if place.exists()]
    request = Request(
        (*places, *values["more"]), _documents(values), secrets_of(options.environment())
    )
    collected = collect(request, path, now)
    document = {"bundle": str(path), **collected.to_json()}
    output.emit(document, _lines(collected, path), as_json=values["as_json"])


def _agent_logs(configs: tuple[Path, ...]) -> list[Path]:
    """The log of this machine's agent and those before it, as its settings say; else the usual ones.

    What is wrong with the settings is not told here: whoever runs the agent is told.
    """
    from repack.agent.settings import merge
    from repack.agent.settings_files import log_file, read_snippets
    from repack.fs import atomic, beneath

    try:
        settings = merge(read_snippets(configs, options.environment()))
    except RepackError:
        return [Path("/var/log/repack")]
    log = log_file(settings.log_path, options.environment(), settings.label)
    with atomic.os_errors_at(log.parent):
        names = [entry.name for entry in beneath.scan_if_there(log.parent)]
    return [log.parent / name for name in names if name.startswith(log.name)]


def _lines(collected: Collected, path: Path) -> Iterator[str]:
    for piece in collected.pieces:
        yield f"  {piece.name}" + (f" ({piece.note})" if piece.note else "")
    for name, reason in sorted(collected.left_out.items()):
        yield f"  left out: {name}: {reason}"
    yield str(path)


def _documents(values: Mapping[str, Any]) -> dict[str, object]:
    """The results of commands by name; of one that fails, its error."""
    commands: dict[str, Callable[[], object]] = {
        "machine": _machine,
        "doctor": lambda: _doctor(values),
        "channels": lambda: _channels(values["channels_dir"]),
        "license": lambda: _license(values),
    }
    documents: dict[str, object] = {}
    for name, command in commands.items():
        try:
            documents[name] = command()
        except RepackError as error:
            documents[name] = error.to_json()
    return documents


def _machine() -> object:
    from msgspec.structs import asdict

    from repack import host
    from repack.version import __version__

    names = ("click", "py-rattler", "tuf", "securesystemslib", "cryptography")
    libraries = host.library_versions(names)
    return {**asdict(host.host_facts()), "repack": __version__, "libraries": libraries}


def _doctor(values: Mapping[str, Any]) -> object:
    from repack.support.doctor import examine

    return [finding.to_json() for finding in examine(values["store"], values["channels_dir"])]


def _channels(folder: Path) -> object:
    from repack.channel.layout import MANIFEST_PATH
    from repack.channel.manifest import MAX_BYTES, parse
    from repack.fs import atomic, beneath

    rows = []
    beneath.guard(folder)
    with atomic.os_errors_at(folder):
        names = [entry.name for entry in beneath.scan_if_there(folder)]
    for name in names:
        path = folder / name / MANIFEST_PATH
        if name.startswith(".") or not beneath.is_file(path):
            continue
        manifest = parse(atomic.read(path, MAX_BYTES), path)
        rows.append(
            {
                "label": manifest.id,
                "release": manifest.version,
                "generated_at": manifest.generated_at,
                "artifacts": len(manifest.artifacts),
                "signed": manifest.signature is not None,
            }
        )
    return rows


def _license(values: Mapping[str, Any]) -> object:
    """The state of the store; its fingerprint, which would open it, is left out."""
    from repack import host
    from repack.license import factors
    from repack.license.operations import LicenseQuery, store_status
    from repack.license.store import LicenseStore

    device = factors.read_factors(values["factors"])
    document: dict[str, object] = {"factors": device.tags, "unreadable": dict(device.unreadable)}
    store = LicenseStore(values["license_store"])
    if not store.exists():
        return {**document, "store": None}
    status = store_status(LicenseQuery(store, device, host.now()))
    rows = [
        {
            "license_id": verdict.license_id,
            "status": verdict.status,
            "issues": list(verdict.issues),
        }
        for verdict in status.verdicts
    ]
    document |= {
        "store": str(store.path),
        "generation": status.opened.generation,
        "licenses": rows,
    }
    return {**document, "issues": list(status.issues), "migrated": status.opened.migrated}
