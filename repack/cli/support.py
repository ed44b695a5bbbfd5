"""``repack support``: what first line hands on to second line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from repack.cli.shared import license_store, options
from repack.cli.shared import output as screen
from repack.errors import RepackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PLACES: Final = (Path("var/log"), Path("var/reports"), Path("var/dist/notary"), Path("logs"))


@click.group()
def command() -> None:
    """Collect what second-line support needs."""


@command.command()
@click.option(
    "-o", "--output", type=license_store.PATH, help="[default: var/support/support-TIME.zip]"
)
@click.option(
    "--log", "more", type=license_store.PATH, multiple=True, help="A file or folder to add."
)
@click.option(
    "--license-store",
    type=license_store.PATH,
    default=Path("secrets/license_store.json"),
    show_default=True,
    help="Its state is told; the store itself stays here.",
)
@license_store.factors
@options.channels_dir
@options.store
@options.as_json
def bundle(**given: Any) -> None:
    """Collect logs, status, versions and reports, without secrets, and say what is in it."""
    from repack import host
    from repack.support.bundle import Request, collect
    from repack.support.redact import secrets_of

    now = host.now()
    output = given["output"] or Path(f"var/support/support-{now:%Y%m%dT%H%M%SZ}.zip")
    places = [path for path in _PLACES if path.exists()]
    request = Request(
        (*places, *given["more"]), _documents(given), secrets_of(options.environment())
    )
    collected = collect(request, output, now)
    if given["as_json"]:
        screen.print_json({"bundle": str(output), **collected.to_json()})
        return
    for piece in collected.pieces:
        click.echo(f"  {piece.name}" + (f" ({piece.note})" if piece.note else ""))
    for name, why in sorted(collected.left_out.items()):
        click.echo(f"  left out: {name}: {why}")
    click.echo(str(output))


def _documents(given: Mapping[str, Any]) -> dict[str, object]:
    """What the commands answer; one that fails answers with its error."""
    asked: dict[str, Callable[[], object]] = {
        "machine": _machine,
        "doctor": lambda: _doctor(given),
        "channels": lambda: _channels(given["channels_dir"]),
        "license": lambda: _license(given),
    }
    found: dict[str, object] = {}
    for name, answer in asked.items():
        try:
            found[name] = answer()
        except RepackError as error:
            found[name] = error.to_json()
    return found


def _machine() -> object:
    import importlib.metadata

    from msgspec.structs import asdict

    from repack import host
    from repack.version import __version__

    names = ("click", "py-rattler", "tuf", "securesystemslib", "cryptography", "zstandard")
    versions = {
        name: importlib.metadata.version(name)
        for name in names
        if next(iter(importlib.metadata.distributions(name=name)), None)
    }
    return {**asdict(host.host_facts()), "repack": __version__, "libraries": versions}


def _doctor(given: Mapping[str, Any]) -> object:
    from repack.support.doctor import examine

    return [finding.to_json() for finding in examine(given["store"], given["channels_dir"])]


def _channels(folder: Path) -> object:
    from repack.channel.layout import MANIFEST_PATH
    from repack.channel.manifest import MAX_BYTES, parse
    from repack.fs import atomic

    rows = []
    for path in sorted(folder.glob(f"[!.]*/{MANIFEST_PATH}")):
        found = parse(atomic.read(path, MAX_BYTES), path)
        rows.append(
            {
                "label": found.id,
                "release": found.version,
                "generated_at": found.generated_at,
                "artifacts": len(found.artifacts),
                "signed": found.signature is not None,
            }
        )
    return rows


def _license(given: Mapping[str, Any]) -> object:
    """The state of the store; its fingerprint, which would open it, is not told."""
    from repack import host
    from repack.license import factors
    from repack.license.operations import LicenseQuery, store_status
    from repack.license.store import LicenseStore

    device = factors.read_factors(given["factors"])
    told: dict[str, object] = {"factors": device.tags, "unreadable": dict(device.unreadable)}
    vault = LicenseStore(given["license_store"])
    if not vault.exists():
        return {**told, "store": None}
    finding = store_status(LicenseQuery(vault, device, host.now()), "leave")
    rows = [
        {"license_id": v.license_id, "status": v.status, "issues": list(v.issues)}
        for v in finding.verdicts
    ]
    opened = finding.opened
    told |= {"store": str(vault.path), "generation": opened.generation, "licenses": rows}
    return {**told, "issues": list(finding.issues), "migrated": opened.migrated}
