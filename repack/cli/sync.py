"""``repack sync``: bring a label's channel to where targets read it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import options, output
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from repack.sync.plan import SyncResult
    from repack.sync.sync import SyncOptions

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?(?:/s)?", re.IGNORECASE)
_GRACE = 5.0


@click.command()
@click.argument("name")
@click.argument("dest")
@click.option(
    "--with",
    "engine",
    type=click.Choice(["auto", "rsync", "robocopy", "own"]),
    default="auto",
    show_default=True,
    help="What carries the packages.",
)
@click.option("--bwlimit", metavar="RATE", help="Bytes a second, such as 500k or 2M.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=_GRACE,
    show_default=True,
    metavar="SECONDS",
    help="Wait before old files are removed, for readers of the old repodata.",
)
@options.file_system
@options.dry_run
@options.channels_dir
@options.as_json
def command(name: str, dest: str, channels_dir: Path, *, as_json: bool, **given: Any) -> None:
    r"""Make DEST a copy of label NAME's channel.

    DEST is a folder, \\server\share\folder, rsync://host/module/path, ssh://host/path or
    host:path. Its readers see a complete channel at any instant; what was cut off goes on.
    """
    from repack.sync.deliver import Transfer, deliver

    way = Transfer(given["engine"], rate(given["bwlimit"]))
    sent = deliver(name, channels_dir, dest, way, terms(given))
    if as_json:
        output.print_json(sent.to_json())
    else:
        show(sent)


def terms(given: Mapping[str, Any]) -> SyncOptions:
    """How to deliver, from a command's options."""
    from repack.sync.sync import SyncOptions

    return SyncOptions(
        dry_run=given["dry_run"],
        grace=given.get("grace", 0.0),
        kind=given["file_system"],
        progress=output.progress(),
    )


def rate(text: str | None) -> int | None:
    """Bytes a second from ``500k`` or ``2M``, counted in 1024 as rsync does; 0 for no limit.

    Raises:
        UsageError: it is no rate.
    """
    if text is None:
        return None
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise UsageError("not a rate", where="--bwlimit", expected="such as 500k or 2M", got=text)
    scale: int = 1024 ** " kmgt".index(found[2].lower() or " ")
    return int(float(found[1]) * scale) or None


def show(sent: SyncResult, echo: Callable[[str], None] = click.echo) -> None:
    """What was done, for people."""
    work, size = sent.work, output.amount(sent.work.bytes)
    if sent.dry_run:
        for piece in work.copy:
            echo(f"copy    {piece.path} ({output.amount(piece.size)})")
        for path in work.remove:
            echo(f"remove  {path}")
        echo(f"{sent.label} release {sent.release}: {size} would be copied to {sent.where}")
        return
    echo(f"{sent.where} is {sent.label} release {sent.release}, read back and right")
    echo(
        f"  {len(work.copy)} files copied ({size}), {len(work.keep)} kept, {len(work.remove)} removed"
    )
