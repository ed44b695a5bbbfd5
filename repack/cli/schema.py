"""``repack schema``: the JSON schema of label files, for editors."""

from __future__ import annotations

import click

from repack.cli import options, screen


@click.command()
@options.as_json
def command(*, as_json: bool) -> None:
    """Print the JSON schema of label files, so that editors complete and check them."""
    del as_json  # it is JSON either way
    from repack.model.label_schema import label_schema

    screen.print_json(label_schema())
