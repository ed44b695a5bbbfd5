"""``repack sync``: bring a label's channel to where targets read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import options, output, transfer

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("name", type=options.LABEL)
@click.argument("dest")
@click.option(
    "--with",
    "engine",
    type=click.Choice(["auto", "rsync", "robocopy", "own"]),
    default="auto",
    show_default=True,
    help="What carries the packages.",
)
@transfer.bwlimit
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait before old files are removed, for readers of the old repodata.",
)
@transfer.file_system
@options.dry_run
@options.channels_dir
@options.as_json
def command(name: str, dest: str, channels_dir: Path, *, as_json: bool, **values: Any) -> None:
    r"""Make DEST a copy of label NAME's channel.

    DEST is a folder, \\server\share\folder, rsync://host/module/path, ssh://host/path or
    host:path. Its readers see a complete channel at any instant; what was cut off goes on.
    """
    from repack.sync.deliver import Transfer, deliver

    way = Transfer(values["engine"], transfer.parse_rate(values["bwlimit"]))
    result = deliver(name, channels_dir, dest, way, transfer.sync_options(values))
    output.emit(result, transfer.transfer_lines(result), as_json=as_json)
