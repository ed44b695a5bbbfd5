"""Compare a published release with what upstream has now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from repack.channel.layout import MANIFEST
from repack.errors import UnsolvableError, UsageError
from repack.release.published import read_published
from repack.report.watch import FieldChange, WatchFinding, WatchReport
from repack.solve import lockfile
from repack.solve.lock_places import ChannelPlaces
from repack.solve.resolve import CHANNEL_LOCK, read_label_request
from repack.solve.solver import query_upstream, solve
from repack.timestamps import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from repack.conda.record import Record
    from repack.release.context import BuildContext
    from repack.solve.solver import UpstreamPackages

# Where upstream's own form is not at hand, only these are compared: rattler spells others anew.
_PLAIN_FIELDS: Final = ("depends", "constrains")


def watch_label(context: BuildContext) -> WatchReport:
    """What became of the packages of a label's published release.

    Raises:
        UsageError: nothing is published.
        FetchError: a channel cannot be read.
        IntegrityError: the channel's lock is damaged.
    """
    label, channels = context.label, context.channels
    published = read_published(channels, label.name)
    if published is None:
        raise UsageError(
            f"label {label.name} has no published release",
            where=channels.published(label.name) / MANIFEST,
            hint=f"repack label {label.name}",
        )
    folder = channels.published(label.name)
    lock = lockfile.read_lock(folder / CHANNEL_LOCK)
    memory = lockfile.recall_lock(context.store.records_path(label.name), lock.data)
    records = lockfile.restore_upstream_form(lock.records, memory, folder)
    places = ChannelPlaces(label.channels, context.upstream.locations, memory.elsewhere)
    findings: dict[tuple[str, str], WatchFinding] = {}
    for subdir, group in records.items():
        names = sorted({record.name for record in group})
        upstream = query_upstream(label.channels, subdir, names, context.session.repodata)
        for record in group:
            exact = record.path in memory.records
            if finding := _compare(record, places.url_of(record), upstream, is_exact=exact):
                findings[finding.kind, finding.package] = finding
    findings |= {("unsolvable", one.package): one for one in _solve(context)}
    rows = tuple(findings[key] for key in sorted(findings))
    return WatchReport(str(label.name), published.release, stamp(context.settings.now), rows)


def _compare(
    record: Record, url: str | None, upstream: UpstreamPackages, *, is_exact: bool
) -> WatchFinding | None:
    """One package against upstream's record of the same URL."""
    place = url or record.url
    current = upstream.records.get(place)
    if current is None:
        if place in upstream.removed:
            return WatchFinding("withdrawn", record.path)
        return WatchFinding("gone", record.path)
    if current.sha256 != record.sha256:
        detail = f"SHA-256 was {record.sha256}, is {current.sha256}"
        return WatchFinding("replaced", record.path, detail=detail)
    names: Sequence[str] = _PLAIN_FIELDS
    if is_exact and current.raw.keys() >= {"sha256"}:
        names = sorted(record.raw.keys() | current.raw.keys())
    changes = _changes(record.raw, current.raw, names)
    return WatchFinding("hotfixed", record.path, changes) if changes else None


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any], names: Sequence[str]
) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(name, before.get(name), after.get(name))
        for name in names
        if (before.get(name) or None) != (after.get(name) or None)
    )


def _solve(context: BuildContext) -> list[WatchFinding]:
    """The platforms for which upstream does not fulfil the label any more."""
    findings = []
    request_of_label = read_label_request(context.label)
    for request in request_of_label.requests:
        try:
            solve(request_of_label.channels, request, context.session.repodata)
        except UnsolvableError as error:
            subdir = request.profile.subdir
            detail = " ".join(error.explanations.get(subdir, "").split())[:400]
            findings.append(WatchFinding("unsolvable", subdir, detail=detail))
    return findings
