"""``repack installer``: one file that makes a label's environment on a machine with nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import options
from repack.cli.shared.output import echo, echo_json

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("name", type=options.LABEL)
@click.option("-o", "--output", type=options.PATH, help="The file. Default: NAME-N-PLATFORM.sh.")
@click.option("-p", "--platform", default="linux-64", show_default=True, help="For which targets.")
@options.channels_dir
@options.as_json
def command(name: str, channels_dir: Path, **values: Any) -> None:
    """Write one file that makes the environment of label NAME, without conda, Python and network.

    Takes the published release of a label with `bootstrap: repack`. Run it with `sh FILE
    --prefix PREFIX` on any Linux; --help there says the rest.
    """
    from repack.channel.folder import Channels
    from repack.names import LabelName
    from repack.release.self_extracting import write_installer

    written = write_installer(
        Channels(channels_dir), LabelName(name), values["platform"], values["output"]
    )
    if values["as_json"]:
        echo_json(json.dumps(written.to_json()))
        return
    echo(str(written.path))
