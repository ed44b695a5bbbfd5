"""``repack sites``: what runs where, from the receipts that sites send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from repack.cli.shared import options, output
from repack.cli.shared.groups import Group
from repack.display import amount, counted, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.receipt.sites import Site


@click.group(cls=Group)
def command() -> None:
    """Take receipts of sites over (`repack target receipt`), and say what runs where."""


@command.command("import")
@click.argument("receipt", type=options.FILE)
@click.option("--as", "name", metavar="SITE", help="The site, for a device that is new.")
@click.option(
    "--accept",
    metavar="KEY",
    help="The device's key, as its administrator read it out; for a new device or key.",
)
@options.sites_dir
@options.as_json
def import_(
    receipt: Path, name: str | None, accept: str | None, sites_dir: Path, *, as_json: bool
) -> None:
    """Take the RECEIPT of a site over, if its device signs it and it was never taken before."""
    from repack.fs import atomic
    from repack.receipt.receipt import LIMIT
    from repack.receipt.sites import Sites

    site = Sites(sites_dir).take(atomic.read(receipt, LIMIT), receipt, name, accept)
    output.emit(site.to_json(), _lines(site), as_json=as_json)


@command.command("list")
@options.sites_dir
@options.as_json
def list_(sites_dir: Path, *, as_json: bool) -> None:
    """List the sites and the release that runs at each."""
    from repack.receipt.sites import Sites

    sites = Sites(sites_dir).list()
    lines = [_line(site) for site in sites] or ["no receipts were imported"]
    output.emit([site.to_json() for site in sites], lines, as_json=as_json)


@command.command()
@click.argument("name")
@options.sites_dir
@options.as_json
def show(name: str, sites_dir: Path, *, as_json: bool) -> None:
    """Show all that site NAME said last."""
    from repack.receipt.sites import Sites

    site = Sites(sites_dir).get(name)
    output.emit(site.to_json(), _lines(site), as_json=as_json)


def _line(site: Site) -> str:
    receipt = site.receipt
    runs = "nothing" if receipt.release is None else f"release {receipt.release}"
    return f"{site.name}: {receipt.label} {runs}, {receipt.platform}, as of {shown(receipt.when)}"


def _lines(site: Site) -> Iterator[str]:
    receipt = site.receipt
    yield _line(site)
    yield f"  device {shown(receipt.fingerprint)}, key {receipt.key_id}, receipt {receipt.number}"
    yield f"  agent: {shown(receipt.phase)}, health {receipt.health}"
    if receipt.rolled_back:
        yield f"  failed or rolled back: {', '.join(map(str, receipt.rolled_back))}"
    if receipt.changed_count is None:
        yield "  its files could not be compared"
    elif receipt.changed_count:
        yield f"  {counted(receipt.changed_count, 'difference')} made by hand:"
        yield from (f"    {shown(line)}" for line in receipt.changed)
    machine = [f"{name} {version}" for name, version in sorted(receipt.virtual_packages.items())]
    yield f"  machine: {shown(', '.join(machine) or 'not told')}"
    yield f"  conda: {shown(receipt.conda or 'none')}"
    if receipt.free is not None:
        yield f"  free: {amount(receipt.free)}"
    if receipt.metadata:
        versions = (f"{role} {version}" for role, version in sorted(receipt.metadata.items()))
        yield f"  metadata seen: {', '.join(versions)}"
