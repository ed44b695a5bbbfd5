"""``repack schema``: the JSON schema of label files, for editors."""

from __future__ import annotations

import click

from repack.cli.shared import options, output


@click.command()
@options.as_json
def command(*, as_json: bool) -> None:
    """Print the JSON schema of label files, so that editors complete and check them."""
    del as_json  # it is JSON either way
    from repack.label.schema import label_schema

    output.print_json(label_schema())
