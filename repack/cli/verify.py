"""``repack verify``: check a channel's files, signatures and consistency."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repack.cli.shared import key_options, options, output

if TYPE_CHECKING:
    from repack.verify.verdict import Verdict


@click.command()
@click.argument("path", type=options.FOLDER)
@click.option("--key", help="The shared key: [KEYID=]env:NAME, file:PATH, hex:…, base64:….")
@click.option("--require-signature", is_flag=True, help="An unsigned channel is an error.")
@click.option(
    "--root",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The root.json that the target was given; else the channel's own is taken.",
)
@options.as_json
def command(
    path: Path, key: str | None, root: Path | None, *, require_signature: bool, as_json: bool
) -> int:
    """Check every hash and signature of the channel in PATH, and that it says one thing."""
    from repack.fs import atomic
    from repack.trust.metadata import MAX_BYTES
    from repack.verify.verdict import Requirements
    from repack.verify.verify import verify

    demand = Requirements(
        key=key_options.resolve(key, "--key"),
        root=None if root is None else atomic.read(root, MAX_BYTES),
        need="signature" if require_signature else "nothing",
    )
    # the real clock, not SOURCE_DATE_EPOCH: expiry is about today
    verdict = verify(path, demand, dt.datetime.now(dt.UTC))
    if as_json:
        output.print_json(verdict.to_json())
    else:
        show(verdict)
    return verdict.exit_code


def show(verdict: Verdict) -> None:
    """The verdict for people: what is wrong first, then who vouches for it."""
    for finding in verdict.findings:
        click.echo(f"{finding.kind}: {finding}")
    for refusal in verdict.refusals:
        click.echo(f"{refusal.kind}: {refusal.text()}")
    for warning in verdict.warnings:
        click.echo(f"warning: {warning}", err=True)
    for path in verdict.litter:
        click.echo(f"ignored: {path}", err=True)
    wrong = len(verdict.findings) + len(verdict.refusals)
    state = "is whole and unchanged" if not wrong else f"is NOT as it should be: {wrong} findings"
    size = output.amount(verdict.bytes)
    click.echo(f"{verdict.label} release {verdict.release} {state}; {verdict.files} files, {size}")
    click.echo(f"  signed by: {verdict.signed_by}")
    if verdict.tags:
        click.echo(f"  production tags: {', '.join(verdict.tags)}")
