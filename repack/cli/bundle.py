"""``repack bundle``: releases of models and strategies, for targets with or without conda.

``scripts/package_offline_release.py`` and ``scripts/offline_update.py`` are these commands under
their documented names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repack.cli.shared import key_options, options
from repack.cli.shared import output as screen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from repack.archive.verified_tar import Section
    from repack.bundle.archive import Trust

F = TypeVar("F", bound="Callable[..., Any]")

FILE = click.Path(dir_okay=False, path_type=Path)


def _folders(command: F) -> F:
    """``--models-dir`` and ``--strategies-dir``."""
    for section in ("strategies", "models"):
        text = f"Folder of the {section}."
        command = click.option(f"--{section}-dir", type=options.FOLDER, help=text)(command)
    return command


def _source(command: F) -> F:
    """What to verify or install, and how far to trust it."""
    for option in (
        click.option(
            "--archive",
            "--source",
            "archive",
            type=click.Path(path_type=Path),
            required=True,
            help="A release archive, a bundle's conda package, or a channel's folder.",
        ),
        click.option("--signing-key", "--key", help="Key to check it with: [KEYID=]VALUE."),
        click.option("--require-signature", is_flag=True, help="Refuse what is not signed."),
    ):
        command = option(command)
    return command


@click.group()
def command() -> None:
    """Carry models and strategies as one archive, verified and installed as a whole."""


@command.command()
@click.option("--version", "release", required=True, help="Version of the release.")
@click.option("--output", type=FILE, required=True, help="The archive to write, a .tar.gz.")
@_folders
@click.option("--signing-key", "--key", help="Key to sign it with: [KEYID=]VALUE.")
@click.option("--manifest-output", type=FILE, help="Write the manifest here, too.")
@options.as_json
def prepare(release: str, output: Path, *, as_json: bool, **given: Any) -> None:
    """Package folders as a release archive."""
    from repack.bundle import prepare as release_archive
    from repack.fs import atomic

    key = key_options.resolve(given["signing_key"], "--signing-key")
    now = options.now(options.environment())
    order = release_archive.PrepareRequest(release, _sections(given), now, key)
    manifest = release_archive.prepare(order, output, screen.progress())
    if given["manifest_output"]:
        atomic.write(given["manifest_output"], manifest.to_bytes())
    if as_json:
        screen.print_json(
            {
                "archive": str(output),
                "manifest": manifest.raw,
                "signed": key is not None,
                "artifacts": len(manifest.artifacts),
            }
        )
        return
    signed = "signed" if key else "unsigned"
    click.echo(f"{output}: release {release}, {len(manifest.artifacts)} files, {signed}")


@command.command()
@_source
@options.as_json
def verify(archive: Path, *, as_json: bool, **given: Any) -> None:
    """Check a release whole; print its manifest."""
    from repack.bundle import prepare as release_archive

    read = release_archive.verify(archive, _trust(given), screen.progress())
    _warn(read.checked)
    if as_json:
        screen.print_json(read.manifest.raw)
        return
    count = len(read.manifest.artifacts)
    click.echo(
        f"{archive}: release {read.manifest.version}, {count} files, all whole; "
        f"signature {read.checked}"
    )


@command.command()
@_source
@_folders
@click.option(
    "--backup-dir", type=options.FOLDER, required=True, help="Gets the folders that are replaced."
)
@click.option("--report", type=FILE, help="Write the report here, too.")
@options.as_json
def install(archive: Path, backup_dir: Path, *, as_json: bool, **given: Any) -> None:
    """Put a release in place of the folders that are there: all of it, or nothing."""
    from repack.bundle import install as install_release
    from repack.fs import atomic

    trust = _trust(given)
    targets = install_release.InstallFolders(_sections(given), backup_dir)
    now = options.now(options.environment())
    report = install_release.install(archive, targets, trust, now, screen.progress())
    _warn(report.checked)
    if as_json:
        screen.print_json(report.to_json())
    else:
        click.echo(f"release {report.version}: {len(report.installed)} files installed")
    if given["report"]:
        atomic.write(
            given["report"],
            (json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n").encode(),
        )


def _sections(given: Mapping[str, Any]) -> dict[Section, Path]:
    from repack.archive.verified_tar import SECTIONS

    named = {section: given[f"{section}_dir"] for section in SECTIONS}
    return {section: folder for section, folder in named.items() if folder is not None}


def _trust(given: Mapping[str, Any]) -> Trust:
    from repack.bundle.archive import Trust

    key = key_options.resolve(given["signing_key"], "--signing-key")
    return Trust(key, "required" if given["require_signature"] else "if-key")


def _warn(checked: str) -> None:
    if checked != "verified":
        what = "is not signed" if checked == "unsigned" else "is signed, but no key was given"
        click.echo(f"warning: the release {what}: nothing shows who made it", err=True)
