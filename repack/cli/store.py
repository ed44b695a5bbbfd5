"""``repack store``: look after the package store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from repack.cli.shared import options, output
from repack.display import amount

if TYPE_CHECKING:
    from collections.abc import Iterator
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

    uses = references.read_uses(channels_dir)
    rows = [entry.to_json(uses.get(entry.sha256)) for entry in Store(store).list()]
    total = sum(row["size"] for row in rows)
    lines = [*map(_line, rows), f"{len(rows)} packages, {amount(total)} in {store}"]
    output.emit({"store": str(store), "bytes": total, "packages": rows}, lines, as_json=as_json)


def _line(row: dict[str, Any]) -> str:
    users = ", ".join(row["labels"]) or ("another channel" if row["links"] else "-")
    return f"{row['sha256'][:_SHOWN]}  {amount(row['size']):>9}  {row['fn'] or '?':<50}  {users}"


@command.command()
@options.store
@options.as_json
def verify(store: Path, *, as_json: bool) -> int:
    """Hash every package again and drop those that are damaged; exit 6 if any was."""
    from repack.store import gc
    from repack.store.store import Store

    verdict = gc.verify(Store(store), output.progress())
    document = {"store": str(store), **verdict.to_json()}
    output.emit(document, _verdict_lines(verdict), as_json=as_json)
    return verdict.exit_code


def _verdict_lines(verdict: StoreVerdict) -> Iterator[str]:
    for entry in verdict.damaged:
        where = f", {entry.links} channel files are it too" if entry.links else ""
        yield f"damaged and dropped: {entry.sha256}{where}"
    good = verdict.files - len(verdict.damaged)
    yield f"{good} of {verdict.files} packages are good, {amount(verdict.bytes)} read"


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

    keep: frozenset[Digest] = frozenset().union(*map(references.read_digests, channels_dir))
    swept = sweep(Store(store), keep, grace * 3600)
    line = f"removed {swept.files} files, {amount(swept.bytes)}; {swept.kept} packages stay"
    output.emit({"store": str(store), **swept.to_json()}, [line], as_json=as_json)
