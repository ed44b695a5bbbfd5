"""``repack recall``: take releases back, here or in a ceremony."""

from __future__ import annotations

from typing import Any

import click

from repack.cli.shared import ceremony, options
from repack.errors import UsageError


@click.command()
@click.argument("name", type=options.LABEL)
@click.option(
    "--release",
    "releases",
    type=options.RELEASE,
    multiple=True,
    help="The release to take back; several do.",
)
@click.option("--why", metavar="TEXT", help="The reason, such as CVE-2026-1234; targets show it.")
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
    name: str, *, releases: tuple[int, ...], why: str | None, as_json: bool, **values: Any
) -> None:
    """Recall releases of label NAME for good: targets refuse to install, run or go back to them.

    It reaches a target with the next medium. With keys on other machines: --prepare FILE here,
    --sign FILE there, --finish FILE here.
    """
    from repack.trust import operations

    step = ceremony.CeremonyStep.of(values)
    context = ceremony.trust_context(name, values)
    document = ceremony.resume(context, step)
    if document is None:
        if not releases or why is None:
            raise UsageError("say which --release, and --why")
        if step.file is not None:
            statements = operations.prepare_recall(context, releases, why, step.file)
            document = {"what": statements, "file": str(step.file)}
        else:
            document = ceremony.metadata_state(operations.recall(context, releases, why))
    ceremony.emit_step(name, step, document, as_json=as_json)
