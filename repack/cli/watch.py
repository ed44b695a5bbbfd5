"""``repack watch``: what became of published packages upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import options, output

if TYPE_CHECKING:
    from repack.report.watch import WatchReport


@click.command()
@click.argument("names", nargs=-1)
@options.labels_dir
@options.channels_dir
@options.store
@click.option("--all", "every", is_flag=True, help="Every label that has a published release.")
@options.as_json
def command(names: tuple[str, ...], *, every: bool, as_json: bool, **values: Any) -> None:
    """Say which packages of published releases upstream withdrew, replaced or hot-fixed.

    Each channel is asked once. Ends with 0 whatever is found; `strict: true` in a label makes its
    next build fail on withdrawn packages.
    """
    from repack.channel.folder import Channels
    from repack.channel.layout import MANIFEST
    from repack.errors import UsageError
    from repack.fleet.selection import select_labels
    from repack.label.files import names as label_names
    from repack.names import LabelName
    from repack.release.context import BuildContext
    from repack.release.session import BuildSession
    from repack.report.watch import keep_report
    from repack.watch.watch import watch_label

    if not names and not every:
        raise UsageError("no label was named", hint="name one, or say --all")
    settings, progress = options.settings(values), output.progress()
    channels = Channels(settings.channels_dir)
    labels = select_labels([str(name) for name in label_names(settings.labels_dir)], names)
    if every:
        labels = tuple(
            name for name in labels if (channels.published(LabelName(name)) / MANIFEST).is_file()
        )
    session = BuildSession.open(settings)
    reports: list[WatchReport] = []
    with progress.phase("watch", len(labels), "files") as advance:
        for name in labels:
            context = BuildContext.open(name, settings, progress, session)
            report = watch_label(context)
            keep_report(channels, report)
            reports.append(report)
            advance(1)
    lines = [line for report in reports for line in report.lines()] or ["nothing is published"]
    from repack.codec.decode import encode

    output.emit([encode(report) for report in reports], lines, as_json=as_json)
