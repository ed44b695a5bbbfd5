"""What ``repack promote`` and ``repack key`` share: metadata signed here, or in a ceremony.

In a ceremony the keys are on other machines: ``--prepare FILE`` here, ``--sign FILE`` there,
``--finish FILE`` here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
from msgspec import Struct

from repack.cli.shared import options, output
from repack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from repack.trust.metadata import MetadataSet
    from repack.trust.operations import TrustContext

F = TypeVar("F", bound="Callable[..., Any]")


class CeremonyStep(Struct, frozen=True):
    """Which step of a ceremony is asked for, with its file; ``done`` and None when it is none."""

    name: Literal["prepare", "sign", "finish", "done"]
    file: Path | None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> CeremonyStep:
        """The step that a command's options ask for.

        Raises:
            UsageError: more than one.
        """
        names: tuple[Literal["prepare", "sign", "finish"], ...] = ("prepare", "sign", "finish")
        steps = [cls(name, values[name]) for name in names if values[name] is not None]
        if len(steps) > 1:
            raise UsageError("one step of a ceremony at a time: --prepare, --sign or --finish")
        return steps[0] if steps else cls("done", None)


def steps(command: F) -> F:
    """``--prepare``, ``--sign`` and ``--finish``."""
    for name, text in (
        ("--finish", "Publish what comes back signed."),
        ("--sign", "Add signatures to such a file, with the keys here."),
        ("--prepare", "Write what is to be signed elsewhere."),
    ):
        command = click.option(name, type=options.FILE, help=text)(command)
    return command


def trust_context(name: str, values: Mapping[str, Any]) -> TrustContext:
    """The keys and channel of label ``name``, from a command's options.

    Raises:
        KeyRefusedError: there is no key set.
    """
    from repack.channel.folder import Channels
    from repack.keys.keyring import Keyring
    from repack.names import LabelName
    from repack.trust.operations import TrustContext

    label = LabelName(name)
    ring = Keyring.open(values["folder"] or Path("keys") / label, options.environment())
    channels = Channels(values["channels_dir"])
    return TrustContext(channels, label, ring, options.now(), values["date_consent"])


def resume(context: TrustContext, step: CeremonyStep) -> dict[str, object] | None:
    """Sign or publish what was prepared, and say what was done; None if neither is asked for."""
    from repack.trust import operations

    if step.name == "sign" and step.file is not None:
        statements, key_ids = operations.sign(
            context.keys, step.file, _confirm, context.date_consent
        )
        return {"what": statements, "signed": key_ids}
    if step.name == "finish" and step.file is not None:
        return metadata_state(operations.finish(context, step.file))
    return None


def _confirm(statements: list[str]) -> None:
    """Show what is going to be signed; a person is asked, a script is not."""
    if sys.stdin is not None and sys.stdin.isatty():
        for line in statements:
            output.echo(line, err=True)
        click.confirm("Sign this?", abort=True, err=True)


def metadata_state(metadata: MetadataSet) -> dict[str, object]:
    """What the metadata says now."""
    from repack.trust.recalls import recall_rows

    return {
        "development_keys": metadata.development,
        "root": metadata.root.version,
        "expires": {role: f"{date:%Y-%m-%d}" for role, date in metadata.expiries().items()},
        "production": [
            {
                "release": release.number,
                "platforms": list(release.platforms),
                "tags": list(release.tags),
            }
            for release in metadata.releases("production")
        ],
        "recalled": recall_rows(metadata.recalled),
    }


def emit_step(name: str, step: CeremonyStep, document: dict[str, object], *, as_json: bool) -> None:
    """Print what a step did."""
    document = {"label": name, "step": step.name, **document}
    output.emit(document, _lines(document), as_json=as_json)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield from document.get("what", ())
    yield from (f"signed {key_id}" for key_id in document.get("signed", ()))
    if "file" in document:
        yield f"to be signed: {document['file']}"
    if "production" in document:
        yield f"{document['label']}: published, root {document['root']}"
    for row in document.get("production", ()):
        yield f"  production: release {row['release']}, tags {', '.join(row['tags'])}"
    for row in document.get("recalled", ()):
        yield f"  recalled: release {row['release']}, {row['why']}"
    if document.get("development_keys"):
        output.echo("warning: these are development keys", err=True)
