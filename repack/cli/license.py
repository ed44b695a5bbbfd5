"""``repack license``: fingerprints, licences, the store. ``scripts/offline_portal.py`` is this."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from repack.errors import RepackError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from repack.model.fingerprint import Device, FingerprintDocument
    from repack.model.keys import Key
    from repack.model.license import Verdict
    from repack.steps.licensing import Asking, Finding

DEFAULT_KEY: Final = "OEM_LICENSE_HMAC_KEY"
_PATH: Final = click.Path(path_type=Path)
_WRONG: Final = 6


@click.group()
def command() -> None:
    """Tell devices apart; issue, check and recover licences."""


def answering(function: Callable[..., int]) -> Callable[..., int]:
    """Answer in JSON even when the answer is an error: it goes into a ticket."""

    @click.option("--json", "as_json", is_flag=True, help="JSON (these commands always do).")
    @functools.wraps(function)
    def wrapped(*, as_json: bool, **given: Any) -> int:
        try:
            return function(**given)
        except RepackError as error:
            if not as_json:  # with it, the program's frame prints the same
                _print({**error.to_json(), "issues": [error.what]})
            raise

    return wrapped


def on_device(function: Callable[..., int]) -> Callable[..., int]:
    """The options that name a store and a device."""
    options = (
        click.option("--store", type=_PATH, required=True, help="The licence store."),
        click.option("--fingerprint", help="The device's fingerprint."),
        click.option("--fingerprint-file", type=_PATH, help="A file that holds it."),
        click.option("--read-local", is_flag=True, help="This machine (the default)."),
        click.option("--factors", type=_PATH, envvar="REPACK_FACTORS", help="Factors, as JSON."),
        click.option("--hmac-key", "--key", help=f"The vendor's key; default env:{DEFAULT_KEY}."),
        click.option("--label", help="The label the licence must be for."),
    )
    for option in reversed(options):
        function = option(function)
    return answering(function)


def _print(answer: object) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2))


def _key(text: str | None, where: str) -> Key | None:
    from repack.model.keys import MAX_KEY_FILE, parse_key  # noqa: PLC0415
    from repack.places import files  # noqa: PLC0415

    if text is None:
        return None
    key = parse_key(text, where).resolve(
        os.environ, lambda path: files.read(Path(path), MAX_KEY_FILE), where
    )
    if key.warning:
        click.echo(f"warning: {key.warning}", err=True)
    return key


def _vendor_key(text: str | None) -> Key | None:
    if text is None and DEFAULT_KEY in os.environ:
        text = f"env:{DEFAULT_KEY}"
    return _key(text, "--hmac-key")


def _document(path: Path) -> FingerprintDocument:
    from repack.model.fingerprint import DOCUMENT_LIMIT, FingerprintDocument  # noqa: PLC0415
    from repack.places import files  # noqa: PLC0415

    return FingerprintDocument.parse(files.read(path, DOCUMENT_LIMIT), path)


def _told(text: str | None, path: Path | None, option: str) -> FingerprintDocument | None:
    from repack.model.fingerprint import FingerprintDocument  # noqa: PLC0415

    if text is not None and path is not None:
        raise UsageError(f"--{option} and --{option}-file exclude each other")
    if path is not None:
        return _document(path)
    return None if text is None else FingerprintDocument.parse(text.encode(), f"--{option}")


def _asking(given: dict[str, Any]) -> Asking:
    from repack.model.fingerprint import Told  # noqa: PLC0415
    from repack.places import host  # noqa: PLC0415
    from repack.places.vault import Vault  # noqa: PLC0415
    from repack.steps.licensing import Asking  # noqa: PLC0415

    told = _told(given["fingerprint"], given["fingerprint_file"], "fingerprint")
    if told is not None and given["read_local"]:
        raise UsageError("--read-local and a fingerprint exclude each other")
    device: Device = Told(told.fingerprint) if told else host.read_factors(given["factors"])
    key = _vendor_key(given["hmac_key"])
    return Asking(Vault(given["store"]), device, host.now(), key, given["label"])


def _row(verdict: Verdict) -> dict[str, object]:
    found = verdict.license
    told = (
        {
            "customer": found.customer,
            "label": found.label,
            "features": list(found.features),
            "fingerprints": list(found.fingerprints),
            "not_before": found.not_before,
            "not_after": found.not_after,
        }
        if found
        else {}
    )
    issues = list(verdict.issues)
    return {
        "license_id": verdict.license_id,
        "status": verdict.status,
        "signature": verdict.signed,
        "issues": issues,
        **told,
    }


def _answer(asking: Asking, finding: Finding) -> dict[str, object]:
    from repack.model.dates import stamp  # noqa: PLC0415

    ledger, signed = finding.opened.ledger, {verdict.signed for verdict in finding.verdicts}
    worst = next((state for state in ("bad", "unchecked", "valid") if state in signed), "unchecked")
    issues = [*finding.issues, *(i for verdict in finding.verdicts for i in verdict.issues)]
    return {
        "store_path": str(asking.vault.path),
        "fingerprint": finding.opened.fingerprint,
        "factors": list(finding.opened.factors),
        "generation": finding.opened.generation,
        "migrated": finding.opened.migrated,
        "checked_at": stamp(asking.now),
        "highest_time": stamp(ledger.highest) if ledger.highest else None,
        "recoveries": len(ledger.recoveries),
        "licenses": [_row(verdict) for verdict in finding.verdicts],
        "signature": {"state": worst, "key_id": asking.key.key_id if asking.key else None},
        "issues": list(dict.fromkeys(issues)),
        "notes": list(finding.notes),
    }


@command.command()
@click.option("--factors", type=_PATH, envvar="REPACK_FACTORS", help="Factors, as JSON.")
@click.option("--document", is_flag=True, help="A signed document for the vendor.")
@click.option("--key", help="The key that signs the document, or checks --expected.")
@click.option("--key-id", help="The key's name, if --key has none.")
@click.option("--expected", type=_PATH, help="Compare with a document; 6 when it differs.")
@click.option("-o", "--output", type=_PATH, help="Write there instead of to stdout.")
@click.option("--json", "as_json", is_flag=True, help="Factors too, not the fingerprint alone.")
def fingerprint(**given: Any) -> int:
    """Say which device this is."""
    from repack.model.dates import stamp  # noqa: PLC0415
    from repack.model.fingerprint import FingerprintDocument  # noqa: PLC0415
    from repack.places import host  # noqa: PLC0415

    key = _key(given["key"], "--key")
    factors = host.read_factors(given["factors"])
    if given["expected"] is not None:
        return _compare(given["expected"], factors, key)
    if given["document"] and key is None:
        raise UsageError("a document is signed", hint="give --key KEY")
    if key is not None and given["key_id"]:
        key = type(key)(given["key_id"], key.secret)
    signer = key if given["document"] else None
    made = FingerprintDocument.of(factors, stamp(host.now()), signer)
    if given["document"]:
        text = json.dumps(made.to_json(), ensure_ascii=False, indent=2)
    elif given["as_json"]:
        text = json.dumps(made.payload, ensure_ascii=False, indent=2)
    else:
        text = made.fingerprint
    _write_or_print(given["output"], text)
    for name, why in made.unreadable.items():
        click.echo(f"note: {name} is not part of it: {why}", err=True)
    for issue in factors.issues:
        click.echo(f"warning: {issue}", err=True)
    return 0
