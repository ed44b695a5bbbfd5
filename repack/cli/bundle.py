"""``repack bundle``: releases of models and strategies, for targets with or without conda.

``scripts/package_offline_release.py`` and ``scripts/offline_update.py`` do the same with the standard
library alone, for stations on which nothing can be installed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import key_options, options, output
from repack.cli.shared.groups import Group

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from repack.archive.verified_tar import Section
    from repack.bundle.archive import Trust


_archive = click.option(
    "--archive",
    "--source",
    "archive",
    type=options.PATH,
    required=True,
    help="A release archive, a bundle's conda package, or a channel's folder.",
)
_key = click.option("--signing-key", "--key", help="Key to check it with: [KEYID=]VALUE.")
_require_signature = click.option(
    "--require-signature", is_flag=True, help="Refuse what is not signed."
)
_models_dir = click.option(
    "--models-dir", type=options.FOLDER, envvar="REPACK_MODELS_DIR", help="Folder of the models."
)
_strategies_dir = click.option(
    "--strategies-dir",
    type=options.FOLDER,
    envvar="REPACK_STRATEGIES_DIR",
    help="Folder of the strategies.",
)


@click.group(cls=Group)
def command() -> None:
    """Carry models and strategies as one archive, verified and installed as a whole."""


@command.command()
@click.option("--version", "release", required=True, help="Version of the release.")
@click.option(
    "--output", "path", type=options.FILE, required=True, help="The archive to write, a .tar.gz."
)
@_models_dir
@_strategies_dir
@click.option("--signing-key", "--key", help="Key to sign it with: [KEYID=]VALUE.")
@click.option("--manifest-output", type=options.FILE, help="Write the manifest here, too.")
@options.as_json
def prepare(release: str, path: Path, *, as_json: bool, **values: Any) -> None:
    """Package folders as a release archive."""
    from repack.bundle import prepare
    from repack.fs import atomic

    key = key_options.resolve(values["signing_key"], "--signing-key")
    request = prepare.PrepareRequest(release, _sections(values), options.now(), key)
    manifest = prepare.prepare(request, path, output.progress())
    if values["manifest_output"]:
        atomic.write(values["manifest_output"], manifest.to_bytes())
    count = len(manifest.artifacts)
    document = {
        "archive": str(path),
        "manifest": manifest.raw,
        "signed": key is not None,
        "artifacts": count,
    }
    line = f"{path}: release {release}, {count} files, {'signed' if key else 'unsigned'}"
    output.emit(document, [line], as_json=as_json)


@command.command()
@_require_signature
@_key
@_archive
@options.as_json
def verify(archive: Path, *, as_json: bool, **values: Any) -> None:
    """Check a release whole; print its manifest."""
    from repack.bundle import prepare

    verified = prepare.verify(archive, _trust(values), output.progress())
    _warn(verified.checked)
    manifest = verified.manifest
    line = (
        f"{archive}: release {manifest.version}, {len(manifest.artifacts)} files, all whole; "
        f"signature {verified.checked}"
    )
    output.emit(manifest.raw, [line], as_json=as_json)


@command.command()
@_require_signature
@_key
@_archive
@_models_dir
@_strategies_dir
@click.option(
    "--backup-dir",
    type=options.FOLDER,
    envvar="REPACK_BACKUP_DIR",
    required=True,
    help="Gets the folders that are replaced.",
)
@click.option("--report", type=options.FILE, help="Write the report here, too.")
@options.as_json
def install(archive: Path, backup_dir: Path, *, as_json: bool, **values: Any) -> None:
    """Put a release in place of the folders that are there: all of it, or nothing."""
    from repack.bundle import install
    from repack.fs import atomic

    folders = install.InstallFolders(_sections(values), backup_dir)
    report = install.install(archive, folders, _trust(values), options.now(), output.progress())
    _warn(report.checked)
    line = f"release {report.version}: {len(report.installed)} files installed"
    output.emit(report, [line], as_json=as_json)
    if values["report"]:
        text = json.dumps(report.to_json(), indent=1, ensure_ascii=False)
        atomic.write(values["report"], f"{text}\n".encode())


def _sections(values: Mapping[str, Any]) -> dict[Section, Path]:
    from repack.archive.verified_tar import SECTIONS

    named = {section: values[f"{section}_dir"] for section in SECTIONS}
    return {section: folder for section, folder in named.items() if folder is not None}


def _trust(values: Mapping[str, Any]) -> Trust:
    from repack.bundle.archive import Trust

    key = key_options.resolve(values["signing_key"], "--signing-key")
    return Trust(key, "required" if values["require_signature"] else "if-key")


def _warn(checked: str) -> None:
    if checked != "verified":
        state = "is not signed" if checked == "unsigned" else "is signed, but no key was given"
        output.echo(f"warning: the release {state}: nothing shows who made it", err=True)
