"""``repack medium``: write a release to a stick or folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from repack.cli import options, screen
from repack.cli.sync import rate, show, terms

if TYPE_CHECKING:
    from pathlib import Path

    from repack.model.medium import Written


@click.command()
@click.argument("name")
@click.argument("dest", type=options.FOLDER)
@click.option("--release", type=click.IntRange(min=1), help="Which one [default: the newest].")
@click.option("--tag", help="It must be signed for targets of this tag.")
@click.option("--prod", is_flag=True, help="It must be signed for production.")
@click.option("--only", is_flag=True, help="Drop the label's other releases from the medium.")
@click.option("--bwlimit", metavar="RATE", help="Bytes a second, such as 500k or 2M.")
@options.file_system
@options.dry_run
@options.labels_dir
@options.channels_dir
@options.store
@options.as_json
def command(name: str, dest: Path, *, as_json: bool, **given: Any) -> None:
    """Write a release of label NAME to the medium DEST, as DEST/NAME, beside what is there.

    With it go its signed metadata, installers/, CHECKLIST.md, verify.py and the plain scripts that
    copy a channel in the right order.
    """
    from repack.model.medium import Wish
    from repack.pipeline.deliver import Desk, write_medium

    wish = Wish(
        release=given["release"],
        tag=given["tag"],
        type="production" if given["prod"] else "ci",
        keep_others=not given["only"],
    )
    how = terms(given)
    desk = Desk.of(name, options.settings(given), rate(given["bwlimit"]), how.progress)
    written = write_medium(name, dest, wish, desk, how)
    if as_json:
        screen.print_json(written.to_json())
    else:
        tell(written)


def tell(written: Written) -> None:
    """What was written, for people."""
    show(written.sent)
    if not written.sent.dry_run:
        others = [n for n in written.releases if n != written.sent.release]
        if others:
            click.echo(f"  other releases on it: {', '.join(map(str, others))}")
        for name in written.installers:
            click.echo(f"  installers/{name}")
