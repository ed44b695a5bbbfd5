"""``repack store``: look after the package store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from repack.cli.shared import options, output

if TYPE_CHECKING:
    from pathlib import Path

    from repack.names import Digest
    from repack.store.gc import StoreVerdict

_SHOWN: Final = 12


@click.group()
def command() -> None:
    """List, check and sweep the package store that all labels share."""


@command.command("list")
@options.channels_dir
@options.store
@options.as_json
def list_(channels_dir: Path, store: Path, *, as_json: bool) -> None:
    """List the store's packages and the labels that hold them."""
    from repack.store import references
    from repack.store.store import Store

    uses = references.uses(channels_dir)
    rows = [entry.to_json(uses.get(entry.sha256)) for entry in Store(store).list()]
    total = sum(row["size"] for row in rows)
    if as_json:
        output.print_json({"store": str(store), "bytes": total, "packages": rows})
        return
    for row in rows:
        held = ", ".join(row["labels"]) or ("another channel" if row["links"] else "-")
        size = output.amount(row["size"])
        click.echo(f"{row['sha256'][:_SHOWN]}  {size:>9}  {row['fn'] or '?':<50}  {held}")
    click.echo(f"{len(rows)} packages, {output.amount(total)} in {store}")


@command.command()
@options.store
@options.as_json
def verify(store: Path, *, as_json: bool) -> int:
    """Hash every package again and drop those that are damaged; exit 6 if any was."""
    from repack.store.gc import verify as check
    from repack.store.store import Store

    verdict = check(Store(store), output.progress())
    if as_json:
        output.print_json({"store": str(store), **verdict.to_json()})
    else:
        _print_verdict(verdict)
    return verdict.exit_code


def _print_verdict(verdict: StoreVerdict) -> None:
    for entry in verdict.damaged:
        where = f", {entry.links} channel files are it too" if entry.links else ""
        click.echo(f"damaged and dropped: {entry.sha256}{where}")
    good = verdict.files - len(verdict.damaged)
    click.echo(f"{good} of {verdict.files} packages are good, {output.amount(verdict.bytes)} read")


@command.command()
@click.option(
    "--channels-dir",
    type=options.FOLDER,
    default=("channels",),
    show_default=True,
    multiple=True,
    help="Published channels whose packages and history stay; may be given several times.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="Hours for which a package that was used stays, whatever names it.",
)
@options.store
@options.as_json
def gc(channels_dir: tuple[Path, ...], grace: float, store: Path, *, as_json: bool) -> None:
    """Remove packages that no channel, and no release that is kept, names any more."""
    from repack.store import references
    from repack.store.gc import sweep
    from repack.store.store import Store

    keep: frozenset[Digest] = frozenset().union(*map(references.digests, channels_dir))
    swept = sweep(Store(store), keep, grace * 3600)
    if as_json:
        output.print_json({"store": str(store), **swept.to_json()})
        return
    click.echo(
        f"removed {swept.files} files, {output.amount(swept.bytes)}; {swept.kept} packages stay"
    )
