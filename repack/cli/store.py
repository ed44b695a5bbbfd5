"""``repack store``: look after the package store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from repack.cli.shared import options, output
from repack.cli.shared.groups import Group
from repack.display import amount, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.names import Digest
    from repack.store.gc import GcResult, StoreVerdict
    from repack.store.store import Store

_SHOWN: Final = 12


@click.group(cls=Group)
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
    """Hash every package again, compare unpacked copies; drop what is damaged, exit 6 if any was."""
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
    for name in verdict.unpacked:
        yield f"unpacked copy changed and dropped: {shown(name)}"
    good = verdict.files - len(verdict.damaged)
    yield f"{good} of {verdict.files} packages are good, {amount(verdict.bytes)} read"


@command.command()
@click.option(
    "--channels-dir",
    type=options.FOLDER,
    envvar="REPACK_CHANNELS_DIR",
    multiple=True,
    help="More published channels whose packages and history stay; may be given several times."
    " Those that were built with the store are known  [default: channels, if there is such a folder]",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="Hours for which a package that was used stays, whatever names it.",
)
@click.option(
    "--forget",
    type=options.PATH,
    multiple=True,
    metavar="CHANNEL",
    help="A channel, or a folder of channels, that is gone for good.",
)
@options.dry_run
@options.store
@options.as_json
def gc(store: Path, *, grace: float, dry_run: bool, as_json: bool, **folders: Any) -> None:
    """Remove packages that no channel, and no release that is kept, names any more.

    Every channel that was built with the store is looked at, wherever it is. What would be removed
    is said before anything is; an error while looking stops it.
    """
    from repack.store.gc import plan_sweep, sweep
    from repack.store.store import Store

    package_store = Store(store)
    keep = _needed(package_store, folders["channels_dir"], folders["forget"])
    plan = plan_sweep(package_store, keep, grace * 3600)
    if not as_json:
        for line in _removal_lines(plan):
            output.echo(line)
    result = plan if dry_run else sweep(package_store, keep, grace * 3600, plan)
    verb = "would remove" if dry_run else "removed"
    line = f"{verb} {result.files} files, {amount(result.bytes)}; {result.kept} packages stay"
    document = {"store": str(store), "dry_run": dry_run, **result.to_json()}
    output.emit(document, [line], as_json=as_json)


def _needed(
    store: Store, channels_dir: tuple[Path, ...], forget: tuple[Path, ...]
) -> frozenset[Digest]:
    """What any channel that is known names.

    Raises:
        UsageError: a channel is not where it was, or there are no channels at all.
    """
    from repack.errors import UsageError
    from repack.store import references, roots

    for gone in forget:
        if not roots.forget_channels(store, gone):
            raise UsageError(
                "no channel there was built with this store",
                where=gone,
                expected=", ".join(map(str, roots.read_roots(store))) or "none is known",
            )
    known = roots.channels_of_roots(store)
    default = Path("channels")
    folders = channels_dir or ((default,) if default.is_dir() or not known else ())
    return frozenset().union(*map(references.read_digests, {*known, *folders}))


def _removal_lines(plan: GcResult) -> Iterator[str]:
    for removal in plan.removals:
        yield f"to go: {removal.kind:<8} {amount(removal.size):>9}  {shown(removal.path.name)}"
