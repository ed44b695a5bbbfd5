"""``repack license``: fingerprints and licences; the store's commands are in ``portal``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import key_options, license_store, options
from repack.cli.shared import output as screen
from repack.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from repack.keys.shared_key import SharedKey
    from repack.license.fingerprint import Factors, Fingerprint, FingerprintDocument

_DIFFERS = 6


@click.group()
def command() -> None:
    """Tell devices apart; issue, check and recover licences."""


for store_command in license_store.COMMANDS:
    command.add_command(store_command)


@command.command()
@license_store.factors
@click.option("--document", is_flag=True, help="A signed document for the vendor.")
@click.option("--key", help="Signs the document, or checks that of --expected.")
@click.option("--key-id", help="The key's name, if --key has none.")
@click.option(
    "--expected", type=license_store.PATH, help="Compare with this document; 6 if it differs."
)
@click.option("-o", "--output", type=license_store.PATH, help="Write there, not to stdout.")
@options.as_json
def fingerprint(**given: Any) -> int:
    """Say which device this is."""
    from repack.keys.shared_key import SharedKey
    from repack.license import factors

    key = key_options.resolve(given["key"], "--key")
    if key is not None and given["key_id"]:
        key = SharedKey(given["key_id"], key.secret)
    found = factors.read_factors(given["factors"])
    if given["expected"] is not None:
        return _compare(given["expected"], found, key)
    if given["document"] and key is None:
        raise UsageError("a fingerprint document is signed", hint="give --key KEY")
    text = _describe(found, key if given["document"] else None, given)
    _deliver(text, given["output"])
    for name, why in found.unreadable.items():
        click.echo(f"note: {name} is no part of it: {why}", err=True)
    for issue in found.issues:
        click.echo(f"warning: {issue}", err=True)
    return 0


def _describe(found: Factors, key: SharedKey | None, given: dict[str, Any]) -> str:
    from repack import host
    from repack.license.fingerprint import FingerprintDocument
    from repack.timestamps import stamp

    made = FingerprintDocument.of(found, stamp(host.now()), key)
    if key is None and not given["as_json"]:
        return made.fingerprint
    answer = made.payload if key is None else made.to_json()
    return json.dumps(answer, ensure_ascii=False, indent=2)


def _deliver(text: str, output: Path | None) -> None:
    from repack.fs import atomic
    from repack.fs.links import refuse_symlinks

    if output is None:
        click.echo(text)
        return
    refuse_symlinks(output)
    atomic.write(output, text.encode() + b"\n")


def _compare(path: Path, found: Factors, key: SharedKey | None) -> int:
    """Compare this device with a document, over the factors the document names."""
    expected = license_store.document(path)
    if key is not None:
        expected.check(key, path)
    there = {
        name: tag for name, tag in found.tags.items() if name in expected.tags or not expected.tags
    }
    missing = [name for name in expected.tags if name not in found.tags]
    local = None if missing else found.fingerprint(tuple(expected.tags))
    same = local == expected.fingerprint
    screen.print_json(
        {
            "status": "match" if same else "mismatch",
            "fingerprint": local,
            "expected": expected.fingerprint,
            "differing": list(expected.differing(there)),
            "unreadable": {name: found.unreadable.get(name, "not there") for name in missing},
            "signature": _signature_state(expected, key),
            "issues": [] if same else ["fingerprint-mismatch"],
        }
    )
    return 0 if same else _DIFFERS


def _signature_state(expected: FingerprintDocument, key: SharedKey | None) -> str:
    if key is not None:
        return "valid"  # or checking it had ended the command
    return "missing" if expected.signature is None else "unchecked"


@command.command()
@click.option("--customer", required=True, help="Who gets it.")
@click.option("--label", required=True, help="The label it is for.")
@click.option("--license-id", required=True, help="Its number.")
@click.option("--fingerprint", "fingerprints", multiple=True, help="A device (repeatable).")
@click.option(
    "--document",
    "documents",
    type=license_store.PATH,
    multiple=True,
    help="A device's signed document.",
)
@click.option("--document-key", help="Checks the documents; default: --key.")
@click.option("--feature", "features", multiple=True, help="What it allows (repeatable).")
@click.option("--not-before", help="First day (default: today).")
@click.option("--not-after", required=True, help="Last day.")
@click.option("--key", required=True, help="Signs it: a shared key, or file: of an Ed25519 PEM.")
@click.option("-o", "--output", type=license_store.PATH, required=True, help="The licence's file.")
@options.as_json
def issue(**given: Any) -> None:
    """Make a licence, on the vendor's side."""
    from repack import host
    from repack.keys.signed_json import sign_json
    from repack.license.license import draft
    from repack.timestamps import stamp

    key = key_options.resolve(given["key"], "--key")
    assert key is not None  # noqa: S101 - the option is required
    check_key = key_options.resolve(given["document_key"], "--document-key") or key
    fields = {name: given[name] for name in ("license_id", "customer", "label", "not_after")}
    fields["not_before"] = given["not_before"] or stamp(host.now())[:10]
    fields["features"] = list(given["features"])
    fields["fingerprints"] = [*_devices(given, check_key)]
    text = json.dumps(sign_json(draft(fields).raw, key), ensure_ascii=False, indent=2)
    _deliver(text, given["output"])
    told = {"license": str(given["output"]), **json.loads(text)}
    screen.print_json(told) if given["as_json"] else click.echo(given["output"])


def _devices(given: dict[str, Any], key: SharedKey) -> list[Fingerprint]:
    from repack.license.fingerprint import Fingerprint

    found = [Fingerprint(text) for text in given["fingerprints"]]
    for path in given["documents"]:
        signed = license_store.document(path)
        signed.check(key, path)
        found.append(signed.fingerprint)
    return list(dict.fromkeys(found))
