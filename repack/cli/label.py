"""``repack label``: build, prove, publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from repack.cli import options, screen

if TYPE_CHECKING:
    from repack.model.outcome import Outcome


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
    from repack.pipeline.line import build, preview

    settings = options.settings(given)
    show = screen.progress()
    outcome = (preview if dry_run else build)(name, settings, show)
    if as_json:
        screen.print_json(outcome.to_json())
    else:
        click.echo(summary(outcome))


def summary(outcome: Outcome) -> str:
    """What a build did, in a few lines of at most 80 columns."""
    state = "is unchanged" if not outcome.changed else "published"
    if outcome.release is None:
        state = "would be made"
    number = f" release {outcome.release}" if outcome.release else ""
    lines = [f"{outcome.label}{number} {state} in {outcome.seconds:.1f} s"]
    for subdir, platform in outcome.platforms.items():
        count = f"{platform.packages} package{'' if platform.packages == 1 else 's'}"
        how = {"linked": "proved by installing", "solved": "proved by solving"}[platform.proof.mode]
        lines.append(f"  {subdir}: {count}, {screen.amount(platform.bytes)}, {how}")
    for sign, paths in (("+", outcome.added), ("-", outcome.removed)):
        lines += [f"  {sign} {path}" for path in paths[:20]]
        if len(paths) > 20:
            lines.append(f"  {sign} and {len(paths) - 20} more")
    if outcome.changed:
        lines.append(f"  fetched {screen.amount(outcome.bytes_fetched)}")
    if outcome.release is not None:
        lines.append(f"  channel: {outcome.channel}")
    return "\n".join(lines)
