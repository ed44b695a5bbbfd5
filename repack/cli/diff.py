"""``repack diff``: what a rebuild would change."""

from __future__ import annotations

import click

from repack.cli.shared import options, output
from repack.cli.shared.summary import changelog


@click.command()
@click.argument("name")
@options.labels_dir
@options.channels_dir
@options.store
@click.option("--update", is_flag=True, help="Against a fresh solve, even if the lock still fits.")
@options.as_json
def command(name: str, *, as_json: bool, **given: object) -> None:
    """Say what a rebuild of label NAME would change; write nothing."""
    from repack.release.line import preview

    outcome = preview(name, options.settings(given), output.progress())
    if as_json:
        output.print_json(outcome.to_json())
    else:
        click.echo(changelog(outcome))
