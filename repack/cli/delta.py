"""``repack delta``: carry only what changed between two releases."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import key_options, options, output
from repack.cli.shared.groups import Group
from repack.display import amount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repack.delta.apply import DeltaApplied
    from repack.delta.create import DeltaResult


@click.group(cls=Group)
def command() -> None:
    """Carry only what changed between two releases."""


@command.command()
@click.argument("name", type=options.LABEL)
@click.option("--from", "old", type=options.RELEASE, required=True, help="Release there.")
@click.option("--to", "new", type=options.RELEASE, required=True, help="Release wanted.")
@click.option("-o", "--output", "out", type=options.FILE, help="[default: NAME-N-M.delta.tar.zst]")
@click.option(
    "--plain",
    is_flag=True,
    help="A tar for `tar -xf FILE -C CHANNEL`; no patches. With -o X.gz: compressed.",
)
@click.option(
    "--carry",
    type=click.FloatRange(min=0),
    help="MB/s the way to the target takes: the slower, the more patches; 0: none."
    " [default: what is reckoned to apply within 1.5 times a copy]",
)
@click.option("--key", help="Signs the delta [default: the label's own]; see `repack verify`.")
@options.labels_dir
@options.channels_dir
@options.store
@options.as_json
def create(name: str, *, old: int, new: int, as_json: bool, **values: Any) -> None:
    """Write what leads from one release of label NAME to another."""
    from repack.channel.folder import Channels
    from repack.delta.create import DeltaRequest, create_delta
    from repack.names import LabelName
    from repack.store.store import Store

    key, carry, ending = values["key"], values["carry"], "tar" if values["plain"] else "tar.zst"
    request = DeltaRequest(
        label=LabelName(name),
        old=old,
        new=new,
        form="plain" if values["plain"] else "patched",
        carry=None if carry is None else carry * 1e6,
        key=lambda: (
            key_options.resolve(key, "--key") if key else key_options.label_key(name, values)
        ),
    )
    path = values["out"] or Path(f"{name}-{old}-{new}.delta.{ending}")
    channels, store = Channels(values["channels_dir"]), Store(values["store"])
    result = create_delta(request, channels, store, path, output.progress())
    output.emit(result, _created_lines(result), as_json=as_json)


def _created_lines(result: DeltaResult) -> Iterator[str]:
    delta, share = result.delta, 100 * result.size / max(1, result.channel)
    releases = f"{result.manifest.id} {delta.base.release} to {delta.target.release}"
    yield f"{result.path}: {releases}, {amount(result.size)}, {share:.1f} % of all"
    yield (
        f"  {len(result.whole)} packages whole, {len(delta.patches)} as patches,"
        f" {len(delta.dropped)} dropped"
    )


@command.command("apply")
@click.argument("channel", type=options.FOLDER)
@click.argument("file", type=options.FILE)
@click.option("--key", help="The shared key: [KEYID=]env:NAME, file:PATH, hex:…, base64:….")
@options.as_json
def apply_(channel: Path, file: Path, key: str | None, *, as_json: bool) -> None:
    """Bring the channel in folder CHANNEL to the release that FILE leads to."""
    from repack.delta import apply
    from repack.medium.top import is_medium, put_page

    # The real clock, not SOURCE_DATE_EPOCH: expiry is about today.
    now = dt.datetime.now(dt.UTC)
    applied = apply.apply(channel, file, key_options.resolve(key, "--key"), now, output.progress())
    if is_medium(channel.parent):
        put_page(channel.parent, f"{now:%Y-%m-%d %H:%M} UTC")
    for warning in applied.verdict.warnings:
        output.echo(f"warning: {warning}", err=True)
    output.emit(applied, _applied_lines(applied), as_json=as_json)


def _applied_lines(applied: DeltaApplied) -> Iterator[str]:
    verdict = applied.verdict
    yield f"{applied.folder}: {verdict.label} is release {verdict.release}, was {applied.before}"
    yield f"  verified: {verdict.files} files, {amount(verdict.bytes)}"
    yield f"  signed by: {verdict.signed_by}"
