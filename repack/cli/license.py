"""``repack license``: fingerprints and licences; the store's commands are in ``license_store``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import key_options, license_store, options, output
from repack.cli.shared.groups import Group
from repack.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from repack.keys.shared_key import SharedKey
    from repack.license.fingerprint import Factors, Fingerprint, FingerprintDocument

_DIFFERS = 6


@click.group(cls=Group)
def command() -> None:
    """Tell devices apart; issue, check and recover licences."""


for store_command in license_store.COMMANDS:
    command.add_command(store_command)


@command.command()
@options.factors
@click.option("--document", is_flag=True, help="A signed document for the vendor.")
@click.option(
    "--key",
    help="Signs the document, or checks that of --expected; default: that of OEM_LICENSE_HMAC_KEY.",
)
@click.option("--key-id", help="The key's name, if --key has none.")
@click.option("--expected", type=options.PATH, help="Compare with this document; 6 if it differs.")
@click.option("-o", "--output", "path", type=options.PATH, help="Write there, not to stdout.")
@options.as_json
def fingerprint(**values: Any) -> int:
    """Say which device this is."""
    from repack import host
    from repack.keys.shared_key import SharedKey
    from repack.license import factors
    from repack.license.fingerprint import FingerprintDocument
    from repack.timestamps import stamp

    key = key_options.resolve(values["key"], "--key")
    if key is not None and values["key_id"]:
        key = SharedKey(values["key_id"], key.secret)
    device = factors.read_factors(values["factors"])
    if values["expected"] is not None:
        return _compare(values["expected"], device, key)
    if values["document"] and key is None:
        raise UsageError("a fingerprint document is signed", hint="give --key KEY")
    signer = key if values["document"] else None
    document = FingerprintDocument.of(device, stamp(host.now()), signer)
    if signer is None and not values["as_json"]:
        text = str(document.fingerprint)
    else:
        text = _json(document.payload if signer is None else document.to_json())
    if values["path"] is None:
        output.echo(text)
    else:
        _write(values["path"], text)
    for name, reason in device.unreadable.items():
        output.echo(f"note: {name} is no part of it: {reason}", err=True)
    for issue in device.issues:
        output.echo(f"warning: {issue}", err=True)
    return 0


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2)


def _write(path: Path, text: str) -> None:
    from repack.fs import atomic
    from repack.fs.links import refuse_symlinks

    refuse_symlinks(path)
    atomic.write(path, f"{text}\n".encode())


def _compare(path: Path, device: Factors, key: SharedKey | None) -> int:
    """Compare this device with a document, over the factors the document names."""
    expected = license_store.read_document(path)
    if key is None and expected.signature is not None:
        key = key_options.vendor(None)
    if key is not None:
        expected.check(key, path)
    tags = {
        name: tag for name, tag in device.tags.items() if name in expected.tags or not expected.tags
    }
    missing = [name for name in expected.tags if name not in device.tags]
    local = None if missing else device.fingerprint(tuple(expected.tags))
    same = local == expected.fingerprint
    output.print_json(
        {
            "status": "match" if same else "mismatch",
            "fingerprint": local,
            "expected": expected.fingerprint,
            "differing": list(expected.differing(tags)),
            "unreadable": {name: device.unreadable.get(name, "not there") for name in missing},
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
    type=options.PATH,
    multiple=True,
    help="A device's signed document.",
)
@click.option("--document-key", help="Checks the documents; default: --key.")
@click.option("--feature", "features", multiple=True, help="What it allows (repeatable).")
@click.option("--not-before", help="First day (default: today).")
@click.option("--not-after", required=True, help="Last day.")
@click.option("--key", required=True, help="Signs it: a shared key, or file: of an Ed25519 PEM.")
@click.option(
    "-o", "--output", "path", type=options.PATH, required=True, help="The licence's file."
)
@options.as_json
def issue(**values: Any) -> None:
    """Make a licence, on the vendor's side."""
    from repack import host
    from repack.keys.signed_json import sign_json
    from repack.license.license import draft
    from repack.timestamps import stamp

    key = key_options.resolve(values["key"], "--key")
    assert key is not None  # noqa: S101 - the option is required
    check_key = key_options.resolve(values["document_key"], "--document-key") or key
    fields = {name: values[name] for name in ("license_id", "customer", "label", "not_after")}
    fields["not_before"] = values["not_before"] or stamp(host.now())[:10]
    fields["features"] = list(values["features"])
    fields["fingerprints"] = [*_devices(values, check_key)]
    signed, path = sign_json(draft(fields).raw, key), values["path"]
    _write(path, _json(signed))
    output.emit({"license": str(path), **signed}, [str(path)], as_json=values["as_json"])


def _devices(values: dict[str, Any], key: SharedKey) -> list[Fingerprint]:
    from repack.license.fingerprint import Fingerprint

    fingerprints = [Fingerprint(text) for text in values["fingerprints"]]
    for path in values["documents"]:
        document = license_store.read_document(path)
        document.check(key, path)
        fingerprints.append(document.fingerprint)
    return list(dict.fromkeys(fingerprints))
