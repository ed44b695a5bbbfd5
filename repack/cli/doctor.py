"""``repack doctor``: what this machine lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from repack.cli.shared import options, output

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@options.channels_dir
@options.store
@options.as_json
def command(channels_dir: Path, store: Path, *, as_json: bool) -> int:
    """Say what this machine offers a build and what it lacks; exit 1 if a build cannot work."""
    from repack.support.doctor import examine

    findings = list(examine(store, channels_dir))
    lines = (f"{finding.verdict:<5}{finding.what:<24}{finding.text}" for finding in findings)
    output.emit(findings, lines, as_json=as_json)
    return 1 if any(finding.verdict == "lack" for finding in findings) else 0
