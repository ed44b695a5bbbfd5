"""The licence store's commands: in ``repack license``, and in ``scripts/offline_portal.py``.

They answer in JSON, errors included, because the answer goes into a ticket.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from repack.cli.shared import key_options, options
from repack.cli.shared import output as screen
from repack.errors import RepackError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repack.license.fingerprint import Device, FingerprintDocument
    from repack.license.license import LicenseVerdict
    from repack.license.operations import LicenseQuery, StoreStatus

    F = TypeVar("F", bound=Callable[..., Any])

PATH: Final = click.Path(path_type=Path)
_WRONG: Final = 6


def factors(command: F) -> F:
    """``--factors``."""
    return click.option(
        "--factors", type=PATH, envvar="REPACK_FACTORS", help="The device's factors, as JSON."
    )(command)


def answering(function: Callable[..., int]) -> Callable[..., int]:
    """Answer in JSON whatever happens."""

    @options.as_json
    @functools.wraps(function)
    def wrapped(*, as_json: bool, **given: Any) -> int:
        try:
            return function(**given)
        except RepackError as error:
            if not as_json:  # with it, the frame of all commands prints this
                screen.print_json({**error.to_json(), "issues": [error.what]})
            raise

    return wrapped


def on_store(function: Callable[..., int]) -> Callable[..., int]:
    """The options that name a store, a device and what is known of the licence."""
    named = (
        click.option("--store", type=PATH, required=True, help="The licence store."),
        click.option("--fingerprint", help="The device's fingerprint."),
        click.option("--fingerprint-file", type=PATH, help="A file that holds it."),
        click.option("--read-local", is_flag=True, help="This machine; that is the default."),
        factors,
        click.option(
            "--hmac-key", "--key", help=f"The vendor's key; default env:{key_options.LICENSE_KEY}."
        ),
        click.option("--label", help="The label that is to be run."),
    )
    for option in reversed(named):
        function = option(function)
    return answering(function)


def document(path: Path) -> FingerprintDocument:
    """Read a fingerprint from a file, plain or as a document.

    Raises:
        FingerprintError: there is none in it.
        PlaceError: the file cannot be read.
    """
    from repack.fs import atomic
    from repack.license.fingerprint import DOCUMENT_LIMIT, FingerprintDocument

    return FingerprintDocument.parse(atomic.read(path, DOCUMENT_LIMIT), path)


def _told(given: dict[str, Any], name: str) -> FingerprintDocument | None:
    from repack.license.fingerprint import FingerprintDocument

    option = f"--{name.replace('_', '-')}"
    text, path = given[name], given[f"{name}_file"]
    if text is not None and path is not None:
        raise UsageError(f"{option} and {option}-file exclude each other")
    if path is not None:
        return document(path)
    return None if text is None else FingerprintDocument.parse(text.encode(), option)


def _asking(
    given: dict[str, Any], name: str = "fingerprint", local: str = "read_local"
) -> LicenseQuery:
    from repack.host import now
    from repack.license import factors as host
    from repack.license.fingerprint import GivenFingerprint
    from repack.license.operations import LicenseQuery
    from repack.license.store import LicenseStore

    told = _told(given, name)
    if told is not None and given[local]:
        raise UsageError("a fingerprint and the local one exclude each other")
    device: Device = (
        GivenFingerprint(told.fingerprint) if told else host.read_factors(given["factors"])
    )
    key = key_options.vendor(given["hmac_key"])
    return LicenseQuery(LicenseStore(given["store"]), device, now(), key, given["label"])


def _answer(asking: LicenseQuery, finding: StoreStatus) -> dict[str, object]:
    from repack.timestamps import stamp

    ledger = finding.opened.ledger
    return {
        "store_path": str(asking.vault.path),
        "fingerprint": finding.opened.fingerprint,
        "factors": list(finding.opened.factors),
        "generation": finding.opened.generation,
        "migrated": finding.opened.migrated,
        "checked_at": stamp(asking.now),
        "highest_time": stamp(ledger.highest) if ledger.highest else None,
        "licenses": [_row(verdict) for verdict in finding.verdicts],
        "signature": _signature(asking, finding),
        "issues": _issues(finding),
        "notes": list(finding.notes),
    }


def _issues(finding: StoreStatus) -> list[str]:
    """Everything that is wrong, with the store and with each licence, once."""
    found = [*finding.issues, *(issue for v in finding.verdicts for issue in v.issues)]
    return list(dict.fromkeys(found))


def _signature(asking: LicenseQuery, finding: StoreStatus) -> dict[str, object]:
    """The worst of all licences' signatures."""
    states = {verdict.signed for verdict in finding.verdicts}
    worst = next((state for state in ("bad", "unchecked", "valid") if state in states), "unchecked")
    valid = {"bad": False, "valid": True}.get(worst)
    return {"state": worst, "valid": valid, "key_id": asking.key.key_id if asking.key else None}


def _row(verdict: LicenseVerdict) -> dict[str, object]:
    row: dict[str, object] = {
        "license_id": verdict.license_id,
        "status": verdict.status,
        "signature": verdict.signed,
        "issues": list(verdict.issues),
    }
    found = verdict.license
    if found is not None:
        row |= {
            "customer": found.customer,
            "label": found.label,
            "features": list(found.features),
            "fingerprints": list(found.fingerprints),
            "not_before": found.not_before,
            "not_after": found.not_after,
        }
    return row


@click.command()
@on_store
def status(**given: Any) -> int:
    """Show the store: device, licences, what is wrong. 0 whenever the store opens."""
    from repack.license import operations

    asking = _asking(given)
    screen.print_json(_answer(asking, operations.store_status(asking)))
    return 0


@click.command()
@click.option(
    "--license", "license_file", type=PATH, help="One licence; default: all of the store."
)
@on_store
def verify(license_file: Path | None, **given: Any) -> int:
    """Check licences against device, store, time and signature. 0 only if all is right, else 6."""
    from repack.license import operations

    asking = _asking(given)
    finding = operations.verify(asking, _license(license_file) if license_file else None)
    answer = _answer(asking, finding)
    if asking.key is None:
        answer["issues"] = [*_issues(finding), "signature-unchecked: no key was given"]
    if license_file and finding.verdicts:
        verdict = finding.verdicts[0]
        contains = verdict.license_id in finding.opened.ledger.licenses
        answer |= {"license_path": str(license_file), "license_id": verdict.license_id}
        answer |= {"status": verdict.status, "store_contains": contains}
    screen.print_json(answer)
    return 0 if finding.is_right else _WRONG


def _license(path: Path) -> Any:
    from repack.fs import atomic
    from repack.license.license import LIMIT, License

    return License.parse(atomic.read(path, LIMIT), path)


@click.command()
@click.option("--license", "license_file", type=PATH, required=True, help="The licence.")
@on_store
def install(license_file: Path, **given: Any) -> int:
    """Put a licence into the store, which is made when there is none."""
    from repack.license import operations

    asking = _asking(given)
    screen.print_json(_answer(asking, operations.install(asking, _license(license_file))))
    return 0


@click.command()
@click.option("--license-id", required=True, help="The licence.")
@click.option("--reason", default="", help="Why; it is kept in the store.")
@on_store
def revoke(license_id: str, reason: str, **given: Any) -> int:
    """Revoke a licence in the store, for good."""
    from repack.license import operations

    asking = _asking(given)
    screen.print_json(_answer(asking, operations.revoke(asking, license_id, reason)))
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
@click.option(
    "--hmac-key", "--key", help=f"The vendor's key; default env:{key_options.LICENSE_KEY}."
)
@click.option("--label", help="The label that is to be run.")
@answering
def recover(**given: Any) -> int:
    """Bind the store to new hardware: keep the old one, write, prove, report."""
    from repack.license.recover import RecoveryJob
    from repack.license.recover import recover as run
    from repack.license.store import LicenseStore

    old = _told(given, "old_fingerprint")
    if old is None:
        raise UsageError("the old device is not named", hint="give --old-fingerprint[-file]")
    told = given["new_fingerprint"] or given["new_fingerprint_file"]
    if not told and not given["read_local_new"]:
        raise UsageError("the new device is not named", hint="give --read-local-new")
    asking = _asking(given, "new_fingerprint", "read_local_new")
    output = LicenseStore(given["output"] or given["store"])
    job = RecoveryJob(asking, old, output, given["report"], _tags(asking.device))
    done = run(job)
    answer = _answer(asking, done.finding)
    screen.print_json(
        {
            **answer,
            "report_path": str(given["report"]),
            "resumed": done.resumed,
            "report": dict(done.report),
            **{name: done.report[name] for name in ("old_fingerprint", "new_fingerprint")},
        }
    )
    return 0


def _tags(device: Device) -> dict[str, str]:
    from repack.license.fingerprint import Factors

    return device.tags if isinstance(device, Factors) else {}


@click.command()
@click.argument("folder", type=PATH)
@click.option("--store", type=PATH, help="A store whose copies must be there.")
@click.option("--fingerprint", help="The store's device; default: this machine.")
@click.option("--fingerprint-file", type=PATH, help="A file that holds it.")
@click.option("--read-local", is_flag=True, help="This machine; that is the default.")
@factors
@click.option(
    "--hmac-key", "--key", help=f"The vendor's key; default env:{key_options.LICENSE_KEY}."
)
@answering
def reports(folder: Path, **given: Any) -> int:
    """Check signatures and chain of the recovery reports in FOLDER. 0 if all are right, else 6."""
    from repack.license.recover import reports_in
    from repack.license.recovery_report import faults

    vendor = key_options.vendor(given["hmac_key"])
    signers = [vendor] if vendor else []
    copies: tuple[Mapping[str, Any], ...] = ()
    if given["store"]:
        asking = _asking({**given, "label": None})
        ledger = asking.vault.open(asking.device).ledger
        copies, signers = ledger.recoveries, [*signers, ledger.key]
    found = reports_in(folder)
    if not signers:
        raise UsageError("no key to check with", hint="give --hmac-key, or --store")
    issues = faults(found, signers, copies)
    names = [report.name for report in sorted(found, key=lambda report: report.sequence)]
    screen.print_json({"folder": str(folder), "reports": names, "issues": issues})
    return _WRONG if issues else 0


COMMANDS: Final = (status, verify, install, revoke, recover, reports)
