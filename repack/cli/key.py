"""``repack key``: make, rotate and show the keys of a label's metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from msgspec.structs import replace

from repack.cli.shared import ceremony, options, output
from repack.cli.shared.groups import Group
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from repack.keys.keyset import Algorithm, KeySet, RoleName
    from repack.trust.operations import NewKey

F = TypeVar("F", bound="Callable[..., Any]")

ROLES = ("root", "targets", "ci", "production", "snapshot", "timestamp")
folder = click.option(
    "--keys", "folder", type=options.FOLDER, envvar="REPACK_KEYS", help="[default: keys/NAME]"
)


def _new_key(command: F) -> F:
    """The options that describe a new key."""
    for option in (
        click.option("--threshold", type=click.IntRange(min=1), help="How many must sign."),
        click.option(
            "--uri",
            help="Where its private half is: file:PATH, env:NAME, hsm:…, awskms:… and the like.",
        ),
        click.option("--public", type=options.FILE, help="PEM of a public key made elsewhere."),
        click.option(
            "--algorithm",
            type=click.Choice(["ed25519", "ecdsa-p384"]),
            default="ed25519",
            show_default=True,
        ),
        folder,
        click.option("--role", type=click.Choice(ROLES), help="What the key signs."),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def command() -> None:
    """Make, rotate and show the keys of a label's signed metadata.

    Private keys are encrypted with REPACK_KEY_PASSPHRASE, if that is set.
    """


@command.command("new")
@click.argument("name", required=False, type=options.LABEL)
@_new_key
@options.as_json
def new(name: str | None, *, threshold: int | None, as_json: bool, **values: Any) -> None:
    """Add a key for a role, or without --role for every role that has none.

    It comes into force with the first release, later with `repack key rotate`.
    """
    from repack.trust.operations import add_key, add_missing_keys

    where, described = _folder(name, values["folder"]), ("uri", "public")
    if values["role"] is not None:
        ring = add_key(where, _new(values), options.environment(), threshold)
    elif threshold is not None or any(values[key] is not None for key in described):
        raise UsageError("say which --role the threshold or key is for", hint="--role root")
    else:
        algorithm = cast("Algorithm", values["algorithm"])
        ring = add_missing_keys(where, algorithm, options.environment())
    _emit(ring.keyset, where, as_json=as_json)


@command.command("rotate")
@click.argument("name", type=options.LABEL)
@_new_key
@click.option("--retire", help="The key id to replace [default: all keys of the role].")
@click.option("--keep-keys", is_flag=True, help="Make no key: bring the key set into force as is.")
@click.option(
    "--reset-clock",
    is_flag=True,
    help="Targets forget the time that they remember, after metadata with a wrong date.",
)
@ceremony.steps
@options.date_consent
@options.channels_dir
@options.as_json
def rotate(
    name: str,
    *,
    channels_dir: Path,
    threshold: int | None,
    reset_clock: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Give a role a new key, or another threshold, and sign the metadata that says so."""
    from repack.trust import operations

    step = ceremony.CeremonyStep.of(values)
    context = ceremony.trust_context(name, {**values, "channels_dir": channels_dir})
    document = ceremony.resume(context, step)
    if document is None:
        change = None
        if values["role"] is not None:
            key = None if values["keep_keys"] else _new(values).make(context.keys)
            role = cast("RoleName", values["role"])
            change = operations.KeyChange(role, key, values["retire"], threshold)
        elif not values["keep_keys"] and not reset_clock:
            raise UsageError("say which --role, or --keep-keys")
        if reset_clock:
            change = replace(change or operations.KeyChange(), resets_clock=True)
        if step.file is not None:
            statements = operations.prepare_rotation(context, change, step.file)
            document = {"what": statements, "file": str(step.file)}
        else:
            document = ceremony.metadata_state(operations.rotate(context, change))
    ceremony.emit_step(name, step, document, as_json=as_json)


@command.command("show")
@click.argument("name", required=False, type=options.LABEL)
@folder
@options.as_json
def show(name: str | None, folder: Path | None, *, as_json: bool) -> None:
    """Show the roles, their thresholds and keys; no private key is read."""
    from repack.keys.keyring import Keyring

    where = _folder(name, folder)
    _emit(Keyring.open(where, options.environment()).keyset, where, as_json=as_json)


def _folder(name: str | None, folder: Path | None) -> Path:
    from repack.names import LabelName

    if folder is None and name is None:
        raise UsageError("say the NAME of a label, or --keys FOLDER")
    return folder or Path("keys") / LabelName(str(name))


def _new(values: dict[str, Any]) -> NewKey:
    from repack.fs import atomic
    from repack.keys.shared_key import MAX_KEY_FILE
    from repack.trust.operations import NewKey

    if values["role"] is None:
        raise UsageError("say which --role")
    pem = None if values["public"] is None else atomic.read(values["public"], MAX_KEY_FILE)
    if pem is None and values["uri"] is not None:
        raise UsageError("a key that is elsewhere needs its --public half")
    return NewKey(values["role"], cast("Algorithm", values["algorithm"]), pem, values["uri"])


def _emit(keyset: KeySet, where: Path, *, as_json: bool) -> None:
    from repack.keys.private_key import to_public_pem

    rows = [
        {
            "role": name,
            "threshold": role.threshold,
            "keys": [
                {
                    "keyid": keyid,
                    "fingerprint": keyset.keys[keyid].fingerprint,
                    "algorithm": keyset.keys[keyid].scheme,
                    "uri": keyset.keys[keyid].uri,
                    "public": to_public_pem(keyset.keys[keyid]),
                }
                for keyid in role.keys
            ],
        }
        for name, role in keyset.roles.items()
    ]
    document = {"folder": str(where), "development": keyset.development, "roles": rows}
    output.emit(document, _lines(keyset, where), as_json=as_json)


def _lines(keyset: KeySet, where: Path) -> Iterator[str]:
    yield f"{where}: {'development keys' if keyset.development else 'keys'}"
    for name, role in keyset.roles.items():
        yield f"  {name}: {role.threshold} of {len(role.keys)}"
        for keyid in role.keys:
            key = keyset.keys[keyid]
            yield f"    {keyid}  {key.scheme}  {key.uri or 'private half elsewhere'}"
            yield f"      fingerprint {key.fingerprint}"
    if missing := [name for name in ROLES if name not in keyset.roles]:
        yield f"  no key yet: {', '.join(missing)}"
