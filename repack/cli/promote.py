"""``repack promote``: sign a release for production, here or in a ceremony."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import options, output
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from repack.trust.metadata import MetadataSet
    from repack.trust.operations import TrustContext

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("name")
@click.option("--release", type=click.IntRange(min=1), help="The release to sign.")
@click.option("--tag", "tags", multiple=True, help="The wave of targets it is for; several do.")
@click.option("--keys", "folder", type=options.FOLDER, help="Key folder [default: keys/NAME].")
@click.option("--prepare", type=FILE, help="Write what is to be signed elsewhere.")
@click.option("--sign", type=FILE, help="Add signatures to such a file, with the keys here.")
@click.option("--finish", type=FILE, help="Publish what comes back signed.")
@options.channels_dir
@options.as_json
def command(
    name: str, *, release: int | None, tags: tuple[str, ...], as_json: bool, **given: Any
) -> None:
    """Sign a release of label NAME for production targets.

    With keys on other machines: --prepare FILE here, --sign FILE there, --finish FILE here.
    """
    from repack.trust import operations

    step, file = step_of(given)
    place = office(name, given["folder"], given["channels_dir"])
    if step == "sign" and file is not None:
        what, used = operations.sign(place.keys, file, agree)
        tell(name, {"step": step, "what": what, "signed": used}, as_json=as_json)
    elif step == "finish" and file is not None:
        tell(name, {"step": step, **state(operations.finish(place, file))}, as_json=as_json)
    elif release is None or not tags:
        raise UsageError("say which --release, and for which --tag")
    elif file is not None:
        what = operations.prepare_promotion(place, release, tags, file)
        tell(name, {"step": step, "what": what, "file": str(file)}, as_json=as_json)
    else:
        tell(
            name, {"step": step, **state(operations.promote(place, release, tags))}, as_json=as_json
        )


def agree(what: list[str]) -> None:
    """Show what is going to be signed; a person is asked, a script is not."""
    if sys.stdin is not None and sys.stdin.isatty():
        for line in what:
            click.echo(line, err=True)
        click.confirm("Sign this?", abort=True, err=True)


def step_of(options_given: Mapping[str, Any]) -> tuple[str, Path | None]:
    """Which step of a ceremony is asked for; ``done`` when there is none.

    Raises:
        UsageError: more than one.
    """
    steps = ("prepare", "sign", "finish")
    given = {step: options_given[step] for step in steps if options_given[step] is not None}
    if len(given) > 1:
        raise UsageError("one step of a ceremony at a time: --prepare, --sign or --finish")
    return next(iter(given.items()), ("done", None))


def office(name: str, folder: Path | None, channels_dir: Path) -> TrustContext:
    """Where the trust of label ``name`` is kept.

    Raises:
        KeyRefusedError: there is no key set.
    """
    from repack.channel.folder import Channels
    from repack.keys.keyring import Keyring
    from repack.names import LabelName
    from repack.trust.operations import TrustContext

    label, variables = LabelName(name), options.environment()
    ring = Keyring.open(folder or Path("keys") / label, variables)
    return TrustContext(Channels(channels_dir), label, ring, options.now(variables))


def state(found: MetadataSet) -> dict[str, object]:
    """What the metadata says now."""
    return {
        "development_keys": found.development,
        "root": found.root.version,
        "expires": {role: f"{when:%Y-%m-%d}" for role, when in found.expiries().items()},
        "production": [
            {"release": one.number, "platforms": list(one.platforms), "tags": list(one.tags)}
            for one in found.releases("production")
        ],
    }


def tell(name: str, said: dict[str, object], *, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        output.print_json({"label": name, **said})
        return
    for line in (
        *_lines(said.get("what")),
        *(f"signed {one}" for one in _lines(said.get("signed"))),
    ):
        click.echo(line)
    if "file" in said:
        click.echo(f"to be signed: {said['file']}")
    if "production" in said:
        click.echo(f"{name}: published, root {said['root']}")
    for row in _lines(said.get("production")):
        click.echo(f"  production: release {row['release']}, tags {', '.join(row['tags'])}")
    if said.get("development_keys"):
        click.echo("warning: these are development keys", err=True)


def _lines(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
