"""``repack labels``: the state of all labels."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from repack.cli.shared import options, output
from repack.display import amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from repack.report.overview import LabelState
    from repack.trust.recalls import Recalls

_HEADS = ("label", "release", "age", "size", "pkgs", "expires", "lock", "signed")
_EXPIRES_SOON = 30


@click.command()
@options.labels_dir
@options.channels_dir
@options.sites_dir
@click.option(
    "--stale",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Days after which an unchanged lock is worth a look.",
)
@click.option("--advisory", help="Say instead which releases this advisory concerns (CVE, GHSA …).")
@click.option(
    "--database",
    type=options.PATH,
    help="Judge all labels by this database of OSV [default: each label's own].",
)
@options.store
@options.as_json
def command(
    labels_dir: Path,
    channels_dir: Path,
    sites_dir: Path,
    *,
    stale: int,
    as_json: bool,
    **values: Any,
) -> None:
    """Show the state of all labels; write it into channels/index.html too."""
    if values["advisory"]:
        _emit_exposures(labels_dir, channels_dir, values, as_json=as_json)
        return
    from repack.channel.folder import Channels
    from repack.receipt.sites import Sites, running
    from repack.report.overview import overview, write_page

    channels, now = Channels(channels_dir), options.now()
    states = overview(channels, labels_dir)
    if channels.root.is_dir():
        write_page(channels)
    sites = Sites(sites_dir).list()
    runs = {state.label: running(sites, state.label) for state in states}
    rows = [{**state.to_json(now), "sites": runs[state.label]} for state in states]
    output.emit(
        rows, _table(states, now, stale, runs) if states else ["no labels here"], as_json=as_json
    )


def _emit_exposures(
    labels_dir: Path, channels_dir: Path, values: dict[str, Any], *, as_json: bool
) -> None:
    """Print which releases of which labels an advisory concerns."""
    from repack.channel.folder import Channels
    from repack.codec.decode import encode
    from repack.report.exposure import ExposureRequest, find_exposures
    from repack.store.store import Store

    rows = find_exposures(
        Channels(channels_dir),
        ExposureRequest(
            advisory=values["advisory"],
            database=values["database"],
            labels_dir=labels_dir,
            environment=options.environment(),
            cache=Store(values["store"]).root / "advisories",
            day=options.now().date(),
        ),
    )
    lines = [row.line for row in rows] or ["no labels here"]
    output.emit([encode(row) for row in rows], lines, as_json=as_json)


def _table(
    states: Sequence[LabelState],
    now: datetime,
    stale: int,
    runs: Mapping[str, Mapping[str, int | None]],
) -> Iterator[str]:
    """One line a label and, below it, what needs attention; 80 columns for names of usual length."""
    rows = [_HEADS, *(_row(state, now) for state in states)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    for state, row in zip([None, *states], rows, strict=True):
        cells = (
            cell.ljust(width) if column in {0, 7} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
        for note in _notes(state, now, stale) if state else ():
            yield from textwrap.wrap(note, 80, initial_indent="  ! ", subsequent_indent="    ")
        if state and (there := runs[state.label]):
            yield from textwrap.wrap(
                _sites(there, state.signed.recalled),
                80,
                initial_indent="    ",
                subsequent_indent="    ",
            )


def _sites(runs: Mapping[str, int | None], recalled: Recalls) -> str:
    """Which site runs which release, and whether it was recalled."""
    return "sites: " + ", ".join(
        f"{site} {'nothing' if release is None else release}"
        + (" (recalled)" if release in recalled else "")
        for site, release in sorted(runs.items())
    )


def _row(state: LabelState, now: datetime) -> tuple[str, ...]:
    from repack.report.overview import days, until

    return (
        state.label,
        str(state.release or "-"),
        _days(days(state.date, now)),
        amount(state.bytes) if state.release else "-",
        str(state.packages) if state.release else "-",
        _days(until(state.signed.expires, now)),
        _days(days(state.lock_since, now)),
        state.trust,
    )


def _days(number: int | None) -> str:
    return "-" if number is None else f"{number} d"


def _notes(state: LabelState, now: datetime, stale: int) -> Iterator[str]:
    from repack.report.overview import days, until

    if state.problem:
        yield state.problem
    if failure := state.failure:
        yield f"the last build failed, {failure.when}: {failure.kind}: {failure.what}"
    if state.watched:
        yield state.watched
    if state.recalled:
        yield f"release {state.release} was recalled: {state.recalled}; build a newer one"
    left = until(state.signed.expires, now)
    if left is not None and left < _EXPIRES_SOON:
        ends = "has expired" if left < 0 else f"expires in {left} days"
        yield f"its metadata {ends}; promote or build it anew"
    age = days(state.lock_since, now)
    if age is not None and age > stale:
        yield f"its lock is {age} days old; see what is new: repack diff {state.label} --update"
