"""``repack show``, ``tree`` and ``why``: a release in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from repack.cli.shared import options, output
from repack.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from repack.report.document import Report

_release = click.option("--release", type=options.RELEASE, help="Which one [default: published].")


def _report(name: str, channels_dir: Path, release: int | None) -> Report:
    from repack.channel.folder import Channels
    from repack.names import LabelName
    from repack.report.render import read_report

    return read_report(Channels(channels_dir), LabelName(name), release)


@click.command()
@click.argument("name", type=options.LABEL)
@_release
@options.channels_dir
@options.as_json
def command(name: str, channels_dir: Path, release: int | None, *, as_json: bool) -> None:
    """Show what is in a release of label NAME: platforms, signatures, packages."""
    from repack.report.text import show_lines

    report = _report(name, channels_dir, release)
    document = {
        "label": report.label,
        "release": report.release,
        "date": report.date,
        "description": report.description,
        "channels": report.channels,
        "signed": report.signature.trust,
        "platforms": {p.subdir: {"packages": p.packages, "bytes": p.bytes, "proof": p.proof,
                                 "virtual_packages": p.virtual_packages}
                      for p in report.platforms},
        "packages": [{"name": p.name, "version": p.version, "build": p.build, "subdir": p.subdir,
                      "bytes": p.size, "licence": p.licence, "sha256": p.sha256, "kind": p.kind}
                     for p in report.packages],
        "warnings": report.warnings,
    }  # fmt: skip
    output.emit(document, show_lines(report), as_json=as_json)


@click.command()
@click.argument("name", type=options.LABEL)
@click.option("-p", "--platform", help="Only this [default: all].")
@_release
@options.channels_dir
@options.as_json
def tree(
    name: str, channels_dir: Path, release: int | None, *, platform: str | None, as_json: bool
) -> None:
    """Show what depends on what in a release of label NAME."""
    from repack.report.text import packages_of, tree_lines

    report = _report(name, channels_dir, release)
    subdirs = [p.subdir for p in report.platforms]
    if platform is not None and platform not in subdirs:
        hint = f"it has {', '.join(subdirs)}"
        raise UsageError(f"the release has no platform {platform[:60]!r}", hint=hint)
    chosen = [platform] if platform else subdirs
    document = {
        subdir: {package.name: sorted(packages[path].name for path in package.depends
                                      if path in packages)
                 for package in packages.values()}
        for subdir in chosen if (packages := packages_of(report, subdir)) is not None
    }  # fmt: skip
    output.emit(document, tree_lines(report, chosen), as_json=as_json)


@click.command()
@click.argument("name", type=options.LABEL)
@click.argument("package")
@_release
@options.channels_dir
@options.as_json
def why(name: str, package: str, channels_dir: Path, release: int | None, *, as_json: bool) -> None:
    """Say why PACKAGE is in a release of label NAME: what leads to it and what needs it."""
    from repack.report.text import chains_to, why_lines

    report = _report(name, channels_dir, release)
    document = {"package": package, "why": chains_to(report, package)}
    output.emit(document, why_lines(report, package), as_json=as_json)
