"""``repack medium``: write a release to a stick or folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import options, output
from repack.cli.sync import rate, show, terms
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.medium.contents import MediumResult
    from repack.medium.oem import OemSite


@click.command()
@click.argument("name")
@click.argument("dest", type=options.FOLDER)
@click.option("--release", type=click.IntRange(min=1), help="Which one [default: the newest].")
@click.option("--tag", help="It must be signed for targets of this tag.")
@click.option("--prod", is_flag=True, help="It must be signed for production.")
@click.option("--only", is_flag=True, help="Drop the label's other releases from the medium.")
@click.option("--bwlimit", metavar="RATE", help="Bytes a second, such as 500k or 2M.")
@click.option("--oem", is_flag=True, help="Add bundle, deltas, notarisation and checklist.")
@click.option("--fingerprint", metavar="F", help="With --oem: the device it is for.")
@click.option(
    "--has",
    type=click.IntRange(min=1),
    multiple=True,
    help="With --oem: the release that the device has [default: any earlier one that is kept].",
)
@click.option(
    "--platform", "platforms", multiple=True, help="With --oem: bundle only this [default: all]."
)
@click.option(
    "--notary",
    type=options.FOLDER,
    default=Path("var/dist/notary"),
    show_default=True,
    help="With --oem: where the notarisations are.",
)
@click.option(
    "--keys", type=options.FOLDER, help="With --oem: the label's key folder [default: keys/LABEL]."
)
@options.file_system
@options.dry_run
@options.labels_dir
@options.channels_dir
@options.store
@options.as_json
def command(name: str, dest: Path, *, as_json: bool, **given: Any) -> None:
    """Write a release of label NAME to the medium DEST, as DEST/NAME, beside what is there.

    With it go its signed metadata, installers/, CHECKLIST.md, verify.py and the plain scripts that
    copy a channel in the right order. With --oem also oem/ and notary/, for sites that have a
    stick and a phone.
    """
    from repack.medium.contents import ReleaseChoice
    from repack.medium.write import MediumContext, write_medium

    wish = ReleaseChoice(
        release=given["release"],
        tag=given["tag"],
        type="production" if given["prod"] else "ci",
        keep_others=not given["only"],
    )
    how = terms(given)
    desk = MediumContext.of(name, options.settings(given), rate(given["bwlimit"]), how.progress)
    if given["oem"]:
        from repack.medium.oem import write_oem

        done = write_oem(name, dest, wish, _site(name, given), (desk, how))
        if as_json:
            output.print_json(done.to_json())
            return
        tell(done.written)
        for path in done.files:
            click.echo(f"  {path}")
        return
    if given["fingerprint"] or given["has"] or given["platforms"]:
        raise UsageError("--fingerprint, --has and --platform go with --oem")
    written = write_medium(name, dest, wish, desk, how)
    if as_json:
        output.print_json(written.to_json())
    else:
        tell(written)


def _site(name: str, given: Mapping[str, Any]) -> OemSite:
    """What is known of the site, from the options."""
    from repack.cli.delta import labels_key
    from repack.cli.notarize import known_keys
    from repack.license.fingerprint import Fingerprint
    from repack.medium.oem import OemSite

    fingerprint = given["fingerprint"]
    checking = {"public_key": (), "keys": given["keys"] or Path("keys") / name, "check": True}
    return OemSite(
        fingerprint=Fingerprint(fingerprint) if fingerprint is not None else None,
        has=given["has"],
        platforms=given["platforms"],
        notary=given["notary"],
        known=known_keys(None, checking),
        key=lambda: labels_key(name, given),
    )


def tell(written: MediumResult) -> None:
    """What was written, for people."""
    show(written.sent)
    if not written.sent.dry_run:
        others = [n for n in written.releases if n != written.sent.release]
        if others:
            click.echo(f"  other releases on it: {', '.join(map(str, others))}")
        for name in written.installers:
            click.echo(f"  installers/{name}")
