"""``repack report``: the page of a release, and the same for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import options
from repack.cli.shared.output import echo

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("name", type=options.LABEL)
@options.channels_dir
@click.option(
    "--release", type=options.RELEASE, help="Of this release; of the published one if not given."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "json", "md", "cyclonedx", "spdx", "csv"]),
    default="html",
    show_default=True,
    help="html says where the page is, the others print.",
)
@click.option("--output", type=options.PATH, help="Write into this file instead.")
@click.option("--open", "opening", is_flag=True, help="Show the page in the browser.")
@click.option("--advisories", is_flag=True, help="Known vulnerabilities, as of when it was built.")
@options.as_json
def command(name: str, channels_dir: Path, release: int | None, **values: Any) -> None:
    """Show what is inside a release of label NAME, what changed, and who vouches for it."""
    from repack.channel.folder import Channels
    from repack.fs import atomic
    from repack.names import LabelName
    from repack.report.render import document, page_of

    form = "json" if values["as_json"] else values["form"]
    channels, label, output = Channels(channels_dir), LabelName(name), values["output"]
    if values["advisories"]:
        from repack.cli.shared.output import emit
        from repack.codec.decode import encode
        from repack.report.render import read_judgement

        judgement = read_judgement(channels, label, release)
        emit(encode(judgement), judgement.lines(), as_json=values["as_json"])
        return
    page = page_of(channels, label, release)
    if values["opening"]:
        click.launch(str(page))
    if form == "html" and output is None:
        echo(str(page))
        return
    data = document(channels, label, release, form)
    if output is not None:
        atomic.write(output, data)
    else:
        click.echo(data, nl=False)
