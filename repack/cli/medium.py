"""``repack medium``: write a release to a stick or folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import key_options, notary, options, output, transfer
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from repack.medium.contents import MediumResult
    from repack.medium.oem import OemSite


@click.command()
@click.argument("name", type=options.LABEL)
@click.argument("dest", type=options.FOLDER)
@click.option("--release", type=options.RELEASE, help="Which one [default: the newest].")
@click.option("--tag", type=options.TAG, help="It must be signed for targets of this tag.")
@click.option("--prod", is_flag=True, help="It must be signed for production.")
@click.option("--only", is_flag=True, help="Drop the label's other releases from the medium.")
@transfer.bwlimit
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
    envvar="REPACK_NOTARY",
    default=Path("var/dist/notary"),
    show_default=True,
    help="With --oem: where the notarisations are.",
)
@click.option(
    "--keys",
    type=options.FOLDER,
    envvar="REPACK_KEYS",
    help="With --oem: the label's key folder [default: keys/LABEL].",
)
@click.option(
    "--for",
    "site",
    metavar="SITE",
    help="The site it is for, of `repack sites`: its machine must have what the label assumes; with"
    " --oem also --fingerprint, --has and --platform as its receipt says.",
)
@options.sites_dir
@transfer.file_system
@options.dry_run
@options.labels_dir
@options.channels_dir
@options.store
@options.as_json
def command(name: str, dest: Path, *, as_json: bool, **values: Any) -> None:
    """Write a release of label NAME to the medium DEST, as DEST/NAME, beside what is there.

    With it go its signed metadata, installers/, index.html, verify.py, SHA256SUMS and the plain
    scripts that check the hashes and copy a channel in the right order. With --oem also oem/ and notary/, for sites that have a
    stick and a phone.
    """
    from repack.medium.contents import ReleaseChoice
    from repack.medium.write import MediumContext, write_medium

    said = _take_site(name, values) if values["site"] is not None else ()
    choice = ReleaseChoice(
        release=values["release"],
        tag=values["tag"],
        type="production" if values["prod"] else "ci",
        keep_others=not values["only"],
    )
    how, rate = transfer.sync_options(values), transfer.parse_rate(values["bwlimit"])
    # The platforms of a medium are a choice of subdirs, not a label's profiles.
    folders = {key: value for key, value in values.items() if key != "platforms"}
    context = MediumContext.of(name, options.settings(folders), how, rate)
    if values["oem"]:
        from repack.medium.oem import write_oem

        written = write_oem(name, dest, choice, _site(name, values), context)
        lines = (*said, *_lines(written.written), *(f"  {path}" for path in written.files))
        output.emit(written, lines, as_json=as_json)
    elif values["fingerprint"] or values["has"] or values["platforms"]:
        raise UsageError("--fingerprint, --has and --platform go with --oem")
    else:
        result = write_medium(name, dest, choice, context)
        output.emit(result, (*said, *_lines(result)), as_json=as_json)


def _take_site(name: str, values: dict[str, Any]) -> tuple[str, ...]:
    """Fill the options that describe a site from what it said last; return what is worth saying.

    Raises:
        UsageError: the site is another label's, or its machine lacks what the label assumes.
    """
    from repack.label import files
    from repack.receipt.sites import Sites, missing_at

    site = Sites(values["sites_dir"]).get(values["site"])
    receipt = site.receipt
    if receipt.label != name:
        raise UsageError(f"site {site.name} has another label", expected=name, got=receipt.label)
    path = files.find(values["labels_dir"], name)
    label = files.load(path, options.environment(), lambda _spec: None)
    profile = label.platforms.get(receipt.platform)
    if profile is None:
        raise UsageError(
            f"label {name} is not built for site {site.name}",
            expected=receipt.platform,
            got=", ".join(label.platforms),
        )
    if lines := missing_at(receipt, profile):
        raise UsageError(
            f"site {site.name} cannot run what label {name} assumes of its targets",
            got="; ".join(lines),
            hint=f"set platforms.{receipt.platform} in the label to what the site has, and build",
        )
    if values["oem"]:
        values["fingerprint"] = values["fingerprint"] or receipt.fingerprint
        values["platforms"] = values["platforms"] or (receipt.platform,)
        if not values["has"] and receipt.release is not None:
            values["has"] = (receipt.release,)
    return (f"for site {site.name}, as of {receipt.when}",)


def _site(name: str, values: Mapping[str, Any]) -> OemSite:
    """The site that the options describe."""
    from repack.license.fingerprint import Fingerprint
    from repack.medium.oem import OemSite

    fingerprint = values["fingerprint"]
    return OemSite(
        fingerprint=Fingerprint(fingerprint) if fingerprint is not None else None,
        has=values["has"],
        platforms=values["platforms"],
        notary=values["notary"],
        known=notary.signing_keys(notary.open_ring(None, values["keys"] or Path("keys") / name)),
        key=lambda: key_options.label_key(name, values),
    )


def _lines(result: MediumResult) -> Iterator[str]:
    """What was written, for people."""
    yield from transfer.transfer_lines(result.sent)
    if not result.sent.dry_run:
        others = [number for number in result.releases if number != result.sent.release]
        if others:
            yield f"  other releases on it: {', '.join(map(str, others))}"
        yield from (f"  installers/{name}" for name in result.installers)
