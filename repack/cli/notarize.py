"""``repack notarize``: state who built a release from what, or check such a statement."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from repack.cli.shared import options, output
from repack.errors import KeyRefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.keys.keyring import Keyring
    from repack.provenance.notarize import Notary
    from repack.provenance.statement import PublicHalf

_WRONG: Final = 6
_TOOLS: Final = (
    "py-rattler",
    "py-rattler-build",
    "conda-package-handling",
    "conda-package-streaming",
    "zstandard",
    "tuf",
    "securesystemslib",
    "cryptography",
)


@click.command()
@click.argument("path", type=options.FOLDER, required=False)
@click.option("--out", type=options.FOLDER, default=Path("var/dist/notary"), show_default=True)
@click.option("--keys", type=options.FOLDER, help="The label's key folder [default: keys/LABEL].")
@click.option(
    "--public-key", type=click.Path(path_type=Path), multiple=True, help="Check with this PEM."
)
@click.option("--builder", help="Who builds, as a URI [default: this host].")
@click.option("--check", is_flag=True, help="Check the log, and the channel in PATH if given.")
@click.option("--copy", is_flag=True, help="With --check: papers on a medium, without the log.")
@options.as_json
def command(path: Path | None, *, as_json: bool, **given: object) -> int:
    """Notarise the release in the channel PATH, or --check what was notarised."""
    if given["check"]:
        return _check(path, given, as_json=as_json)
    if path is None:
        raise UsageError("which channel?", hint="repack notarize channels/LABEL")
    from repack import host
    from repack.provenance.notarize import notarize

    done = notarize(path, _notary(path, given), host.now())
    answer = {
        "envelope": str(done.envelope),
        "report": str(done.report),
        "log": str(done.envelope.with_name("log.jsonl")),
        "sequence": done.sequence,
        "changed": done.changed,
    }
    if as_json:
        output.print_json(answer)
    else:
        state = "notarised" if done.changed else "was notarised already"
        click.echo(f"{done.report.stem} {state}, entry {done.sequence}: {done.report}")
    return 0


def _check(path: Path | None, given: Mapping[str, object], *, as_json: bool) -> int:
    from repack.provenance.notarize import check, check_copy

    out = given["out"]
    assert isinstance(out, Path)  # noqa: S101 - the option has a default
    if given["copy"] and path is None:
        raise UsageError("which channel?", hint="repack notarize STICK/LABEL --check --copy")
    known = known_keys(path, given)
    found = check_copy(out, known, path) if given["copy"] and path else check(out, known, path)
    status = "error" if found.faults else "ok"
    if as_json:
        output.print_json(
            {
                "status": status,
                "entries": found.entries,
                "release": found.release,
                "issues": list(found.faults),
            }
        )
    else:
        good = f"{found.entries} notarisations, all in order"
        if given["copy"]:
            good = f"{path} is {found.release} as notarised"
        click.echo("\n".join(found.faults) or good)
    return _WRONG if found.faults else 0


def _notary(channel: Path, given: Mapping[str, object]) -> Notary:
    from repack.provenance.notarize import Notary
    from repack.version import __version__

    ring = _ring(channel, given)
    signers = [s for s in map(ring.signer, ring.keyset.of("ci").keys) if s is not None]
    if not signers:
        raise KeyRefusedError("no private key of role ci is here", where=ring.folder)
    tools = {"repack": __version__, "python": platform.python_version(), **_versions()}
    builder = given["builder"] or f"urn:repack:builder:{platform.node() or 'unknown'}"
    kind = "development keys" if ring.keyset.development else "the label's keys"
    out = given["out"]
    assert isinstance(out, Path)  # noqa: S101 - the option has a default
    return Notary(out, str(builder), tools, signers, _public_halves(ring), kind)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _ring(channel: Path | None, given: Mapping[str, object]) -> Keyring:
    from repack.keys.keyring import Keyring

    variables = options.environment()
    if isinstance(given["keys"], Path):
        return Keyring.open(given["keys"], variables)
    if channel is None:
        raise UsageError("which keys?", hint="give --keys or --public-key, or the channel")
    folder = Path("keys") / _label(channel)
    # Only signing may make keys: a check with keys made for it would check nothing
    made = Keyring.open if given["check"] else Keyring.open_or_create
    return made(folder, variables)


def _label(channel: Path) -> str:
    from repack.channel.layout import MANIFEST
    from repack.channel.manifest import MAX_BYTES, parse
    from repack.fs import atomic
    from repack.names import LabelName

    data = atomic.read(channel / MANIFEST, MAX_BYTES)
    return LabelName(parse(data, channel / MANIFEST).id)


def _public_halves(ring: Keyring) -> list[PublicHalf]:
    """All keys that ever signed builds; a retired one still vouches for what it signed."""
    from repack.provenance.statement import PublicHalf

    keys = ring.keyset.keys.values()
    return [PublicHalf.from_dict(k.keyid, k.to_tuf()) for k in keys if k.role == "ci"]


def known_keys(channel: Path | None, given: Mapping[str, object]) -> list[PublicHalf]:
    """The public keys to check with: those given, else all of the label's."""
    paths = given["public_key"]
    assert isinstance(paths, tuple)  # noqa: S101 - click makes one
    if not paths:
        return _public_halves(_ring(channel, given))
    from repack.fs import atomic
    from repack.keys.keyring import Keyring
    from repack.keys.keyset import KeySet
    from repack.keys.shared_key import MAX_KEY_FILE
    from repack.provenance.statement import PublicHalf

    ring = Keyring(Path(), KeySet(), {})
    adopted = [ring.adopt("ci", atomic.read(path, MAX_KEY_FILE), None) for path in paths]
    return [PublicHalf.from_dict(key.keyid, key.to_tuf()) for key in adopted]
