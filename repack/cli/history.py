"""``repack history``: the releases that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from repack.cli.shared import options, output

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("name")
@options.channels_dir
@options.as_json
def command(name: str, channels_dir: Path, *, as_json: bool) -> None:
    """List the releases of label NAME that can be restored."""
    from repack.channel.folder import Channels
    from repack.channel.history import history
    from repack.names import LabelName

    rows = [kept.to_json() for kept in history(Channels(channels_dir), LabelName(name))]
    if as_json:
        output.print_json(rows)
        return
    for row in rows:
        mark = "*" if row["published"] else " "
        size = output.amount(int(str(row["bytes"])))
        click.echo(
            f"{mark}{row['release']:>4}  {row['generated_at']}  {row['packages']:>4} packages  {size}"
        )
