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


_STATES = {
    "published": "published",
    "unchanged": "is unchanged",
    "repaired": "was damaged and is whole again",
}
_PROOFS = {"linked": "proved by installing", "solved": "proved by solving"}
_SHOWN = 20


def summary(outcome: Outcome) -> str:
    """What a build did or would do, in lines of at most 80 columns, paths aside."""
    lines = [f"{_headline(outcome)} ({outcome.seconds:.1f} s)"]
    for subdir, platform in outcome.platforms.items():
        count = f"{platform.packages} package{'' if platform.packages == 1 else 's'}"
        proof = "" if outcome.state == "previewed" else f", {_PROOFS[platform.proof.mode]}"
        lines.append(f"  {subdir}: {count}, {screen.amount(platform.bytes)}{proof}")
        if platform.longest_prefix is not None:
            longest = platform.longest_prefix
            lines.append(f"    without long paths a prefix may have {longest} characters")
    for sign, paths in (("+", outcome.added), ("-", outcome.removed)):
        lines += [f"  {sign} {path}" for path in paths[:_SHOWN]]
        if len(paths) > _SHOWN:
            lines.append(f"  {sign} and {len(paths) - _SHOWN} more")
    lines += [f"  changed: {change}" for change in outcome.changes]
    lines += [f"  warning: {warning}" for warning in outcome.warnings]
    if outcome.state == "published":
        lines.append(f"  fetched {screen.amount(outcome.bytes_fetched)}")
    if outcome.state != "previewed":
        lines.append(f"  channel: {outcome.channel}")
    return "\n".join(lines)


def _headline(outcome: Outcome) -> str:
    if outcome.state != "previewed":
        return f"{outcome.label}: release {outcome.release} {_STATES[outcome.state]}"
    if not outcome.changed:
        return f"{outcome.label}: nothing would change"
    return f"{outcome.label}: would become release {outcome.release + 1}"
