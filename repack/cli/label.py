"""``repack label``: build, prove, publish."""

from __future__ import annotations

from pathlib import Path

import click

from repack.cli.shared import options, output
from repack.cli.shared.summary import summary


@click.command()
@click.argument("name")
@options.labels_dir
@options.channels_dir
@options.store
@click.option(
    "--env",
    "env_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="`conda info --json` of an environment: ship exactly its packages.",
)
@click.option(
    "--prove",
    type=click.Choice(["linked", "solved"]),
    default="linked",
    show_default=True,
    help="Also link into a scratch prefix where the platform is this machine's, or only solve.",
)
@click.option("--dry-run", is_flag=True, help="Say what would change; fetch and write nothing.")
@click.option("--update", is_flag=True, help="Solve afresh even if the lock still fits.")
@options.as_json
def command(name: str, *, dry_run: bool, as_json: bool, **given: object) -> None:
    """Build the channel of label NAME, prove it, publish it."""
    from repack.release.line import build, preview

    settings = options.settings(given)
    show = output.progress()
    outcome = (preview if dry_run else build)(name, settings, show)
    if as_json:
        output.print_json(outcome.to_json())
    else:
        click.echo(summary(outcome))
