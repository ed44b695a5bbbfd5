"""``repack notarize``: state who built a release from what, or check such a statement."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from repack.cli.shared import notary, options, output
from repack.errors import KeyRefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.provenance.notarize import Notary

_WRONG: Final = 6
_TOOLS: Final = (
    "py-rattler",
    "conda-package-streaming",
    "tuf",
    "securesystemslib",
    "cryptography",
)


@click.command()
@click.argument("path", type=options.FOLDER, required=False)
@click.option(
    "--out",
    type=options.FOLDER,
    envvar="REPACK_NOTARY",
    default=Path("var/dist/notary"),
    show_default=True,
)
@click.option(
    "--keys",
    type=options.FOLDER,
    envvar="REPACK_KEYS",
    help="The label's key folder [default: keys/LABEL].",
)
@click.option("--public-key", type=options.PATH, multiple=True, help="Check with this PEM.")
@click.option("--builder", help="Who builds, as a URI [default: this host].")
@click.option("--check", is_flag=True, help="Check the log, and the channel in PATH if given.")
@click.option("--copy", is_flag=True, help="With --check: papers on a medium, without the log.")
@options.as_json
def command(path: Path | None, *, check: bool, as_json: bool, **values: Any) -> int:
    """Notarise the release in the channel PATH, or --check what was notarised."""
    if check:
        return _check(path, values, as_json=as_json)
    if path is None:
        raise UsageError("which channel?", hint="repack notarize channels/LABEL")
    from repack import host
    from repack.provenance.notarize import notarize

    notarized = notarize(path, _notary(path, values), host.now())
    document = {
        "envelope": str(notarized.envelope),
        "report": str(notarized.report),
        "log": str(notarized.envelope.with_name("log.jsonl")),
        "sequence": notarized.sequence,
        "changed": notarized.changed,
    }
    state = "notarised" if notarized.changed else "was notarised already"
    line = f"{notarized.report.stem} {state}, entry {notarized.sequence}: {notarized.report}"
    output.emit(document, [line], as_json=as_json)
    return 0


def _check(path: Path | None, values: Mapping[str, Any], *, as_json: bool) -> int:
    from repack.provenance.notarize import check, check_copy

    if values["copy"] and path is None:
        raise UsageError("which channel?", hint="repack notarize STICK/LABEL --check --copy")
    if values["public_key"]:
        keys = notary.keys_from_pem(values["public_key"])
    else:
        keys = notary.signing_keys(notary.open_ring(path, values["keys"]))
    if values["copy"] and path is not None:
        result = check_copy(values["out"], keys, path)
        good = f"{path} is {result.release} as notarised"
    else:
        result = check(values["out"], keys, path)
        good = f"{result.entries} notarisations, all in order"
    document = {
        "status": "error" if result.faults else "ok",
        "entries": result.entries,
        "release": result.release,
        "issues": list(result.faults),
    }
    output.emit(document, result.faults or [good], as_json=as_json)
    return _WRONG if result.faults else 0


def _notary(channel: Path, values: Mapping[str, Any]) -> Notary:
    from repack.host import library_versions
    from repack.provenance.notarize import Notary
    from repack.version import __version__

    ring = notary.open_ring(channel, values["keys"])
    signers = [s for s in map(ring.signer, ring.keyset.keys_of("ci").keys) if s is not None]
    if not signers:
        raise KeyRefusedError("no private key of role ci is here", where=ring.folder)
    tools = {"repack": __version__, "python": platform.python_version()}
    versions = library_versions(_TOOLS)
    tools |= {name: versions.get(name, "not installed") for name in _TOOLS}
    builder = values["builder"] or f"urn:repack:builder:{platform.node() or 'unknown'}"
    kind = "development keys" if ring.keyset.development else "the label's keys"
    return Notary(values["out"], builder, tools, signers, notary.signing_keys(ring), kind)
