"""``repack verify``: check a channel's files, signatures and consistency."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from repack.cli.shared import key_options, options, output
from repack.display import amount, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repack.keys.shared_key import SharedKey
    from repack.verify.medium import MediumVerdict
    from repack.verify.verdict import Verdict


@click.command()
@click.argument("path", type=options.FOLDER)
@click.option("--key", help="The shared key: [KEYID=]env:NAME, file:PATH, hex:…, base64:….")
@click.option("--require-signature", is_flag=True, help="An unsigned channel is an error.")
@click.option(
    "--root",
    type=options.FILE,
    help="The root.json that the target was given; else the channel's own is taken.",
)
@click.option(
    "--reindex",
    is_flag=True,
    help="Also let conda-index index a copy, as a customer may, and compare and solve it.",
)
@options.as_json
def command(path: Path, key: str | None, root: Path | None, *, as_json: bool, **flags: bool) -> int:
    """Check every hash and signature of the channel in PATH, and that it says one thing.

    PATH may be a medium as well: all channels on it are checked, and what lies beside them. Or an
    update package: a folder that scripts/update_package.py made.
    """
    from repack.fs import atomic
    from repack.trust.metadata import MAX_BYTES
    from repack.update_package.verify import is_update_package
    from repack.verify.medium import channels_on, verify_medium
    from repack.verify.verdict import Requirements
    from repack.verify.verify import verify

    if is_update_package(path):
        return _verify_update_package(path, key_options.resolve(key, "--key"), as_json=as_json)
    requirements = Requirements(
        key=key_options.resolve(key, "--key"),
        root=None if root is None else atomic.read(root, MAX_BYTES),
        need="signature" if flags["require_signature"] else "nothing",
    )
    # The real clock, not SOURCE_DATE_EPOCH: expiry is about today.
    now = dt.datetime.now(dt.UTC)
    if channels_on(path):
        medium = verify_medium(path, requirements, now)
        output.emit(medium, _medium_lines(medium), as_json=as_json)
        return medium.exit_code
    verdict = verify(path, requirements, now)
    if not flags["reindex"] or verdict.exit_code:
        output.emit(verdict, _lines(verdict), as_json=as_json)
        return verdict.exit_code
    from repack.codec.decode import encode
    from repack.prove.reindex import reindex

    reindexed = reindex(path, options.environment())
    document = {**verdict.to_json(), "reindexed": encode(reindexed)}
    records, solved = sum(reindexed.records.values()), ", ".join(reindexed.platforms)
    line = f"  indexed anew: {records} records are the same; solved again for {solved}"
    output.emit(document, [*_lines(verdict), line], as_json=as_json)
    return 0


def _medium_lines(medium: MediumVerdict) -> Iterator[str]:
    """The verdict on a medium for people: each channel's, then what lies beside them."""
    for verdict in medium.channels:
        yield from _lines(verdict)
    yield from (f"{finding.kind}: {finding}" for finding in medium.findings)
    for path in medium.litter:
        output.echo(f"ignored: {printable(path)}", err=True)
    bad = sum(1 for verdict in medium.channels if verdict.exit_code)
    count, beside = len(medium.channels), len(medium.findings)
    if bad or beside:
        yield f"the medium is NOT as it should be: {bad} of {count} channels, {beside} files beside them"
    else:
        yield f"the medium is as it should be: {count} channels, and all beside them"


def _verify_update_package(folder: Path, key: SharedKey | None, *, as_json: bool) -> int:
    """Check an update package; 6 if anything is wrong with it."""
    from repack.errors import IntegrityError
    from repack.update_package.audit import Audit
    from repack.update_package.verify import verify_package

    audit = Audit()
    try:
        manifest = verify_package(folder, audit, key)
    except IntegrityError:
        for row in audit.entries if not as_json else ():
            if not row.ok:
                output.echo(f"{row.check}: {printable(row.target)}: {printable(row.detail)}")
        if as_json:
            output.print_json(audit)
        return IntegrityError.exit_code
    for warning in audit.warnings:
        output.echo(f"warning: {printable(warning)}", err=True)
    text = f"{printable(manifest.id)} {printable(manifest.version)} is whole and unchanged"
    result = {**audit.to_json(), "manifest": manifest.payload()}
    output.emit(result, [f"{text}; {len(audit.entries)} checks"], as_json=as_json)
    return 0


def _lines(verdict: Verdict) -> Iterator[str]:
    """The verdict for people: what is wrong first, then who signed it."""
    yield from (f"{finding.kind}: {finding}" for finding in verdict.findings)
    yield from (f"{refusal.kind}: {refusal.text()}" for refusal in verdict.refusals)
    for warning in verdict.warnings:
        output.echo(f"warning: {warning}", err=True)
    for path in verdict.litter:
        output.echo(f"ignored: {printable(path)}", err=True)
    count, size = len(verdict.findings) + len(verdict.refusals), amount(verdict.bytes)
    state = f"is NOT as it should be: {count} findings" if count else "is whole and unchanged"
    yield f"{verdict.label} release {verdict.release} {state}; {verdict.files} files, {size}"
    yield f"  signed by: {verdict.signed_by}"
    if verdict.tags:
        yield f"  production tags: {', '.join(verdict.tags)}"
