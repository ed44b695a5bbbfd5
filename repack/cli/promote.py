"""``repack promote``: sign a release for production, here or in a ceremony."""

from __future__ import annotations

from typing import Any

import click

from repack.cli.shared import ceremony, options
from repack.errors import UsageError


@click.command()
@click.argument("name", type=options.LABEL)
@click.option("--release", type=options.RELEASE, help="The release to sign.")
@click.option(
    "--tag",
    "tags",
    type=options.TAG,
    multiple=True,
    help="The wave of targets it is for; several do.",
)
@click.option(
    "--keys",
    "folder",
    type=options.FOLDER,
    envvar="REPACK_KEYS",
    help="Key folder [default: keys/NAME].",
)
@ceremony.steps
@options.date_consent
@options.channels_dir
@options.as_json
def command(
    name: str, *, release: int | None, tags: tuple[str, ...], as_json: bool, **values: Any
) -> None:
    """Sign a release of label NAME for production targets.

    With keys on other machines: --prepare FILE here, --sign FILE there, --finish FILE here.
    """
    from repack.trust import operations

    step = ceremony.CeremonyStep.of(values)
    context = ceremony.trust_context(name, values)
    document = ceremony.resume(context, step)
    if document is None:
        if release is None or not tags:
            raise UsageError("say which --release, and for which --tag")
        if step.file is not None:
            statements = operations.prepare_promotion(context, release, tags, step.file)
            document = {"what": statements, "file": str(step.file)}
        else:
            document = ceremony.metadata_state(operations.promote(context, release, tags))
    ceremony.emit_step(name, step, document, as_json=as_json)
