"""The licence store's commands: in ``repack license``, and in ``scripts/offline_portal.py``.

They always print JSON, errors included, because their output goes into a ticket.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from repack.cli.shared import key_options, options
from repack.cli.shared.options import PATH, factors
from repack.cli.shared.output import print_json
from repack.errors import RepackError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from repack.license.fingerprint import Device, FingerprintDocument
    from repack.license.license import LicenseVerdict
    from repack.license.operations import LicenseQuery, StoreStatus

    F = TypeVar("F", bound=Callable[..., Any])

_WRONG: Final = 6
_vendor_key = click.option(
    "--hmac-key", "--key", help=f"The vendor's key; default env:{key_options.LICENSE_KEY}."
)


def _always_json(function: Callable[..., int]) -> Callable[..., int]:
    """Print errors as JSON even without ``--json``."""

    @options.as_json
    @functools.wraps(function)
    def wrapped(*, as_json: bool, **values: Any) -> int:
        try:
            return function(**values)
        except RepackError as error:
            if not as_json:  # with it, cli.main prints the error
                print_json({**error.to_json(), "issues": [error.what]})
            raise

    return wrapped


def _query_options(function: Callable[..., int]) -> Callable[..., int]:
    """The options that name a store, a device, the vendor's key and the label."""
    listed = (
        click.option("--store", type=PATH, required=True, help="The licence store."),
        click.option("--fingerprint", help="The device's fingerprint."),
        click.option("--fingerprint-file", type=PATH, help="A file that holds it."),
        click.option("--read-local", is_flag=True, help="This machine; that is the default."),
        factors,
        _vendor_key,
        click.option("--label", help="The label that is to be run."),
    )
    for option in reversed(listed):
        function = option(function)
    return _always_json(function)


def read_document(path: Path) -> FingerprintDocument:
    """Read a fingerprint from a file, plain or as a document.

    Raises:
        FingerprintError: there is none in it.
        PlaceError: the file cannot be read.
    """
    from repack.fs import atomic
    from repack.license.fingerprint import DOCUMENT_LIMIT, FingerprintDocument

    return FingerprintDocument.parse(atomic.read(path, DOCUMENT_LIMIT), path)


def _named_device(values: dict[str, Any], name: str) -> FingerprintDocument | None:
    from repack.license.fingerprint import FingerprintDocument

    option = f"--{name.replace('_', '-')}"
    text, path = values[name], values[f"{name}_file"]
    if text is not None and path is not None:
        raise UsageError(f"{option} and {option}-file exclude each other")
    if path is not None:
        return read_document(path)
    return None if text is None else FingerprintDocument.parse(text.encode(), option)


def _query(
    values: dict[str, Any], name: str = "fingerprint", local: str = "read_local"
) -> LicenseQuery:
    from repack.host import now
    from repack.license.factors import read_factors
    from repack.license.fingerprint import GivenFingerprint
    from repack.license.operations import LicenseQuery
    from repack.license.store import LicenseStore

    document = _named_device(values, name)
    if document is not None and values[local]:
        raise UsageError("a fingerprint and the local one exclude each other")
    device: Device = (
        GivenFingerprint(document.fingerprint) if document else read_factors(values["factors"])
    )
    key = key_options.vendor(values["hmac_key"])
    return LicenseQuery(LicenseStore(values["store"]), device, now(), key, values["label"])


def _document(query: LicenseQuery, status: StoreStatus) -> dict[str, object]:
    from repack.timestamps import stamp

    ledger = status.opened.ledger
    return {
        "store_path": str(query.store.path),
        "fingerprint": status.opened.fingerprint,
        "factors": list(status.opened.factors),
        "generation": status.opened.generation,
        "migrated": status.opened.migrated,
        "checked_at": stamp(query.now),
        "highest_time": stamp(ledger.highest) if ledger.highest else None,
        "licenses": [_row(verdict) for verdict in status.verdicts],
        "signature": _signature(query, status),
        "issues": _issues(status),
        "notes": list(status.notes),
    }


def _issues(status: StoreStatus) -> list[str]:
    """Everything that is wrong, with the store and with each licence, once."""
    issues = [*status.issues, *(issue for v in status.verdicts for issue in v.issues)]
    return list(dict.fromkeys(issues))


def _signature(query: LicenseQuery, status: StoreStatus) -> dict[str, object]:
    """The worst of all licences' signatures."""
    states = {verdict.signed for verdict in status.verdicts}
    worst = next((state for state in ("bad", "unchecked", "valid") if state in states), "unchecked")
    valid = {"bad": False, "valid": True}.get(worst)
    return {"state": worst, "valid": valid, "key_id": query.key.key_id if query.key else None}


def _row(verdict: LicenseVerdict) -> dict[str, object]:
    row: dict[str, object] = {
        "license_id": verdict.license_id,
        "status": verdict.status,
        "signature": verdict.signed,
        "issues": list(verdict.issues),
    }
    license_ = verdict.license
    if license_ is not None:
        row |= {
            "customer": license_.customer,
            "label": license_.label,
            "features": list(license_.features),
            "fingerprints": list(license_.fingerprints),
            "not_before": license_.not_before,
            "not_after": license_.not_after,
        }
    return row


@click.command()
@_query_options
def status(**values: Any) -> int:
    """Show the store: device, licences, what is wrong. 0 whenever the store opens."""
    from repack.license import operations

    query = _query(values)
    print_json(_document(query, operations.store_status(query)))
    return 0


@click.command()
@click.option(
    "--license", "license_file", type=PATH, help="One licence; default: all of the store."
)
@_query_options
def verify(license_file: Path | None, **values: Any) -> int:
    """Check licences against device, store, time and signature. 0 only if all is right, else 6."""
    from repack.license import operations

    query = _query(values)
    result = operations.verify(query, _license(license_file) if license_file else None)
    document = _document(query, result)
    if query.key is None:
        document["issues"] = [*_issues(result), "signature-unchecked: no key was given"]
    if license_file and result.verdicts:
        verdict = result.verdicts[0]
        contains = verdict.license_id in result.opened.ledger.licenses
        document |= {"license_path": str(license_file), "license_id": verdict.license_id}
        document |= {"status": verdict.status, "store_contains": contains}
    print_json(document)
    return 0 if result.is_right else _WRONG


def _license(path: Path) -> Any:
    from repack.fs import atomic
    from repack.license.license import LIMIT, License

    return License.parse(atomic.read(path, LIMIT), path)


@click.command()
@click.option("--license", "license_file", type=PATH, required=True, help="The licence.")
@_query_options
def install(license_file: Path, **values: Any) -> int:
    """Put a licence into the store, which is made when there is none."""
    from repack.license import operations

    query = _query(values)
    print_json(_document(query, operations.install(query, _license(license_file))))
    return 0


@click.command()
@click.option("--license-id", required=True, help="The licence.")
@click.option("--reason", default="", help="Why; it is kept in the store.")
@_query_options
def revoke(license_id: str, reason: str, **values: Any) -> int:
    """Revoke a licence in the store, for good."""
    from repack.license import operations

    query = _query(values)
    print_json(_document(query, operations.revoke(query, license_id, reason)))
    return 0


@click.command()
@click.option("--store", type=PATH, required=True, help="The store, bound to the old device.")
@click.option("--output", type=PATH, help="Where it goes; default: where it is.")
@click.option("--old-fingerprint", help="The old device.")
@click.option("--old-fingerprint-file", type=PATH, help="A file that holds it.")
@click.option("--new-fingerprint", help="The new device.")
@click.option("--new-fingerprint-file", type=PATH, help="A file that holds it.")
@click.option("--read-local-new", is_flag=True, help="The new device is this machine.")
@click.option("--report", type=PATH, required=True, help="The report's file.")
@factors
@_vendor_key
@click.option("--label", help="The label that is to be run.")
@_always_json
def recover(**values: Any) -> int:
    """Bind the store to new hardware: keep the old one, write, prove, report."""
    from repack.license import recover
    from repack.license.fingerprint import Factors
    from repack.license.store import LicenseStore

    old = _named_device(values, "old_fingerprint")
    if old is None:
        raise UsageError("the old device is not named", hint="give --old-fingerprint[-file]")
    new = values["new_fingerprint"] or values["new_fingerprint_file"]
    if not new and not values["read_local_new"]:
        raise UsageError("the new device is not named", hint="give --read-local-new")
    query = _query(values, "new_fingerprint", "read_local_new")
    output = LicenseStore(values["output"] or values["store"])
    tags = query.device.tags if isinstance(query.device, Factors) else {}
    recovery = recover.recover(recover.RecoveryJob(query, old, output, values["report"], tags))
    print_json(
        {
            **_document(query, recovery.status),
            "report_path": str(values["report"]),
            "resumed": recovery.resumed,
            "report": dict(recovery.report),
            **{name: recovery.report[name] for name in ("old_fingerprint", "new_fingerprint")},
        }
    )
    return 0


@click.command()
@click.argument("folder", type=PATH)
@click.option("--store", type=PATH, help="A store whose copies must be there.")
@click.option("--fingerprint", help="The store's device; default: this machine.")
@click.option("--fingerprint-file", type=PATH, help="A file that holds it.")
@click.option("--read-local", is_flag=True, help="This machine; that is the default.")
@factors
@_vendor_key
@_always_json
def reports(folder: Path, **values: Any) -> int:
    """Check signatures and chain of the recovery reports in FOLDER. 0 if all are right, else 6."""
    from repack.license.recover import reports_in
    from repack.license.recovery_report import report_faults

    vendor = key_options.vendor(values["hmac_key"])
    signers = [vendor] if vendor else []
    copies: tuple[Mapping[str, Any], ...] = ()
    if values["store"]:
        query = _query({**values, "label": None})
        ledger = query.store.open(query.device).ledger
        copies, signers = ledger.recoveries, [*signers, ledger.key]
    listed = reports_in(folder)
    if not signers:
        raise UsageError("no key to check with", hint="give --hmac-key, or --store")
    issues = report_faults(listed, signers, copies)
    names = [report.name for report in sorted(listed, key=lambda report: report.sequence)]
    print_json({"folder": str(folder), "reports": names, "issues": issues})
    return _WRONG if issues else 0


COMMANDS: Final = (status, verify, install, revoke, recover, reports)
