"""``repack delta``: carry only what changed between two releases."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from repack.cli.shared import key_options, options, output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.keys.shared_key import SharedKey

_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Carry only what changed between two releases."""


@command.command()
@click.argument("name")
@click.option("--from", "old", type=click.IntRange(min=1), required=True, help="Release there.")
@click.option("--to", "new", type=click.IntRange(min=1), required=True, help="Release wanted.")
@click.option("-o", "--output", type=_FILE, help="[default: NAME-N-M.delta.tar.zst]")
@click.option("--plain", is_flag=True, help="A tar for `tar -xf FILE -C CHANNEL`; no patches.")
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
def create(name: str, **given: Any) -> None:
    """Write what leads from one release of label NAME to another."""
    from repack.channel.folder import Channels
    from repack.delta.create import DeltaRequest, create_delta
    from repack.names import LabelName
    from repack.store.store import Store

    old, new, plain, key = given["old"], given["new"], given["plain"], given["key"]
    leap = DeltaRequest(
        label=LabelName(name),
        old=old,
        new=new,
        form="plain" if plain else "patched",
        carry=None if given["carry"] is None else given["carry"] * 1e6,
        key=lambda: key_options.resolve(key, "--key") if key else labels_key(name, given),
    )
    ending = "tar" if plain else "tar.zst"
    out = given["output"] or Path(f"{name}-{old}-{new}.delta.{ending}")
    channels, store = Channels(given["channels_dir"]), Store(given["store"])
    made = create_delta(leap, channels, store, out, output.progress())
    if given["as_json"]:
        output.print_json(made.to_json())
        return
    share = 100 * made.size / max(1, made.channel)
    click.echo(f"{out}: {name} {old} to {new}, {output.amount(made.size)}, {share:.1f} % of all")
    click.echo(
        f"  {len(made.whole)} packages whole, {len(made.delta.patches)} as patches,"
        f" {len(made.delta.dropped)} dropped"
    )


def labels_key(name: str, given: Mapping[str, Any]) -> SharedKey | None:
    """The key the label signs with."""
    from repack.release import signing_keys
    from repack.release.context import BuildContext

    return signing_keys.signing(
        BuildContext.open(name, options.settings(given), output.progress())
    ).hmac


@command.command("apply")
@click.argument("channel", type=options.FOLDER)
@click.argument("file", type=_FILE)
@click.option("--key", help="The shared key: [KEYID=]env:NAME, file:PATH, hex:…, base64:….")
@options.as_json
def apply_(channel: Path, file: Path, key: str | None, *, as_json: bool) -> None:
    """Bring the channel in folder CHANNEL to the release that FILE leads to."""
    from repack.delta import apply
    from repack.medium.write import is_medium, put_checklist

    # the real clock, not SOURCE_DATE_EPOCH: expiry is about today
    now = dt.datetime.now(dt.UTC)
    applied = apply.apply(channel, file, key_options.resolve(key, "--key"), now, output.progress())
    if is_medium(channel.parent):
        put_checklist(channel.parent, f"{now:%Y-%m-%d %H:%M} UTC")
    for warning in applied.verdict.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        output.print_json(applied.to_json())
        return
    verdict = applied.verdict
    click.echo(f"{channel}: {verdict.label} is release {verdict.release}, was {applied.before}")
    click.echo(f"  verified: {verdict.files} files, {output.amount(verdict.bytes)}")
    click.echo(f"  signed by: {verdict.signed_by}")
