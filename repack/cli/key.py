"""``repack key``: make, rotate and show the keys of a label's metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from repack.cli.promote import FILE, agree, office, state, step_of, tell
from repack.cli.shared import options, output
from repack.errors import UsageError

if TYPE_CHECKING:
    from repack.keys.keyset import Algorithm, KeySet, Role
    from repack.trust.operations import New

ROLES = ("root", "targets", "ci", "production", "snapshot", "timestamp")
role = click.option("--role", type=click.Choice(ROLES), help="What the key signs.")
algorithm = click.option(
    "--algorithm",
    type=click.Choice(["ed25519", "ecdsa-p384"]),
    default="ed25519",
    show_default=True,
)
public = click.option("--public", type=FILE, help="PEM of a public key made elsewhere.")
uri = click.option(
    "--uri", help="Where its private half is: file:PATH, env:NAME, hsm:…, awskms:… and the like."
)
threshold = click.option("--threshold", type=click.IntRange(min=1), help="How many must sign.")
folder = click.option("--keys", "folder", type=options.FOLDER, help="[default: keys/NAME]")


@click.group()
def command() -> None:
    """Make, rotate and show the keys of a label's signed metadata.

    Private keys are encrypted with REPACK_KEY_PASSPHRASE, if that is set.
    """


@command.command("new")
@click.argument("name", required=False)
@role
@folder
@algorithm
@public
@uri
@threshold
@options.as_json
def new(name: str | None, *, threshold: int | None, as_json: bool, **given: Any) -> None:
    """Add a key for a role; it comes into force with `repack key rotate` or the first release."""
    from repack.trust.operations import add_key

    where = _folder(name, given["folder"])
    ring = add_key(where, _new(given), options.environment(), threshold)
    _show(ring.keyset, where, as_json=as_json)


@command.command("rotate")
@click.argument("name")
@role
@folder
@algorithm
@public
@uri
@threshold
@click.option("--retire", help="The key id to replace [default: all keys of the role].")
@click.option("--keep-keys", is_flag=True, help="Make no key: bring the key set into force as is.")
@click.option("--prepare", type=FILE, help="Write what is to be signed elsewhere.")
@click.option("--sign", type=FILE, help="Add signatures to such a file, with the keys here.")
@click.option("--finish", type=FILE, help="Publish what comes back signed.")
@options.channels_dir
@options.as_json
def rotate(
    name: str, *, channels_dir: Path, threshold: int | None, as_json: bool, **given: Any
) -> None:
    """Give a role a new key, or another threshold, and sign the metadata that says so."""
    from repack.trust import operations

    step, file = step_of(given)
    place = office(name, given["folder"], channels_dir)
    if step == "sign" and file is not None:
        what, used = operations.sign(place.keys, file, agree)
        return tell(name, {"step": step, "what": what, "signed": used}, as_json=as_json)
    if step == "finish" and file is not None:
        done = operations.finish(place, file)
        return tell(name, {"step": step, **state(done)}, as_json=as_json)
    change = None
    if given["role"] is not None:
        key = None if given["keep_keys"] else _new(given).make(place.keys)
        change = operations.KeyChange(cast("Role", given["role"]), key, given["retire"], threshold)
    elif not given["keep_keys"]:
        raise UsageError("say which --role, or --keep-keys")
    if file is not None:
        what = operations.prepare_rotation(place, change, file)
        return tell(name, {"step": step, "what": what, "file": str(file)}, as_json=as_json)
    return tell(name, {"step": step, **state(operations.rotate(place, change))}, as_json=as_json)


@command.command("show")
@click.argument("name", required=False)
@folder
@options.as_json
def show(name: str | None, folder: Path | None, *, as_json: bool) -> None:
    """Show the roles, their thresholds and keys; no private key is read."""
    from repack.keys.keyring import Keyring

    where = _folder(name, folder)
    _show(Keyring.open(where, options.environment()).keyset, where, as_json=as_json)


def _folder(name: str | None, folder: Path | None) -> Path:
    from repack.names import LabelName

    if folder is None and name is None:
        raise UsageError("say the NAME of a label, or --keys FOLDER")
    return folder or Path("keys") / LabelName(str(name))


def _new(given: dict[str, Any]) -> New:
    from repack.fs import atomic
    from repack.keys.shared_key import MAX_KEY_FILE
    from repack.trust.operations import New

    if given["role"] is None:
        raise UsageError("say which --role")
    pem = None if given["public"] is None else atomic.read(given["public"], MAX_KEY_FILE)
    if pem is None and given["uri"] is not None:
        raise UsageError("a key that is elsewhere needs its --public half")
    return New(given["role"], cast("Algorithm", given["algorithm"]), pem, given["uri"])


def _show(keys: KeySet, where: Path, *, as_json: bool) -> None:
    from repack.keys.keyring import public_pem

    rows = [
        {
            "role": name,
            "threshold": one.threshold,
            "keys": [
                {
                    "keyid": keyid,
                    "algorithm": keys.keys[keyid].scheme,
                    "uri": keys.keys[keyid].uri,
                    "public": public_pem(keys.keys[keyid]),
                }
                for keyid in one.keys
            ],
        }
        for name, one in keys.roles.items()
    ]
    document = {"folder": str(where), "development": keys.development, "roles": rows}
    if as_json:
        output.print_json(document)
        return
    kind = "development keys" if keys.development else "keys"
    click.echo(f"{where}: {kind}")
    for name, one in keys.roles.items():
        click.echo(f"  {name}: {one.threshold} of {len(one.keys)}")
        for keyid in one.keys:
            key = keys.keys[keyid]
            click.echo(f"    {keyid[:16]}  {key.scheme}  {key.uri or 'private half elsewhere'}")
    missing = [name for name in ROLES if name not in keys.roles]
    if missing:
        click.echo(f"  no key yet: {', '.join(missing)}")
