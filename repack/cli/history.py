"""``repack history`` and ``repack restore``: the releases that are kept, and the way back to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from repack.cli.shared import options, output
from repack.display import amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from repack.channel.history import HistoryEntry


@click.command()
@click.argument("name", type=options.LABEL)
@options.channels_dir
@options.as_json
def command(name: str, channels_dir: Path, *, as_json: bool) -> None:
    """List the releases of label NAME that can be restored."""
    from repack.channel.folder import Channels
    from repack.channel.history import history
    from repack.names import LabelName

    entries = history(Channels(channels_dir), LabelName(name))
    output.emit(entries, _lines(entries), as_json=as_json)


def _lines(entries: Sequence[HistoryEntry]) -> Iterator[str]:
    for entry in entries:
        manifest, mark = entry.manifest, "*" if entry.published else " "
        size = amount(sum(artifact.size for artifact in manifest.artifacts))
        yield (
            f"{mark}{manifest.release:>4}  {manifest.generated_at}"
            f"  {len(manifest.artifacts):>4} packages  {size}"
        )


@click.command()
@click.argument("name", type=options.LABEL)
@click.argument("release", type=options.RELEASE)
@options.channels_dir
@options.store
@options.as_json
def restore(name: str, release: int, channels_dir: Path, store: Path, *, as_json: bool) -> None:
    """Make RELEASE of label NAME the published channel again, byte for byte."""
    from repack.channel.folder import Channels
    from repack.channel.metadata_folder import newest
    from repack.names import LabelName
    from repack.release import line
    from repack.trust.recalls import describe_recalls
    from repack.trust.summary import summarize_metadata

    folder = line.restore(name, release, channels_dir, store)
    recalled = summarize_metadata(newest(Channels(channels_dir), LabelName(name))).recalled
    warnings = [describe_recalls(recalled, [release])] if release in recalled else []
    for warning in warnings:
        output.echo(f"warning: {warning}; targets refuse it", err=True)
    document = {"label": name, "release": release, "channel": str(folder), "warnings": warnings}
    lines = [f"{name} is release {release} again", f"  channel: {folder}"]
    output.emit(document, lines, as_json=as_json)
