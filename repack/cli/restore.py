"""``repack restore``: put a past release back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from repack.cli.shared import options, output

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("name")
@click.argument("release", type=click.IntRange(min=1))
@options.channels_dir
@options.store
@options.as_json
def command(name: str, release: int, channels_dir: Path, store: Path, *, as_json: bool) -> None:
    """Make RELEASE of label NAME the published channel again, byte for byte."""
    from repack.release.line import restore

    folder = restore(name, release, channels_dir, store)
    if as_json:
        output.print_json({"label": name, "release": release, "channel": str(folder)})
    else:
        click.echo(f"{name} is release {release} again\n  channel: {folder}")
