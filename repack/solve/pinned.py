"""The packages of a ``from:`` lock, taken by file name and hash; nothing is chosen.

Whatever channel of the label has the very archive serves, also where an earlier one has another of
its name, or the other format. Of two formats in one channel rattler shows the ``.conda`` alone. Only whether the pins are complete is solved, among
themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repack.conda.rattler import version_order
from repack.errors import IntegrityError, UnsolvableError
from repack.solve.solver import query_upstream, solve_among
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repack.conda.record import Record
    from repack.inputs.pins import Pin
    from repack.solve.solution import SolveRequest
    from repack.solve.upstream_repodata import UpstreamRepodata


def take_pinned(
    pins: Sequence[Pin], channels: Sequence[str], request: SolveRequest, repodata: UpstreamRepodata
) -> tuple[Record, ...]:
    """The records of ``pins``, sorted by path, as upstream publishes them.

    Raises:
        UnsolvableError: packages are not upstream, all of them named; or they do not suffice.
        IntegrityError: upstream has other content under a pinned name.
        FetchError: a channel cannot be read.
    """
    subdir = request.profile.subdir
    names = sorted({pin.name for pin in pins})
    offered: dict[str, list[Record]] = {name: [] for name in names}
    for record in query_upstream(channels, subdir, names, repodata).records.values():
        offered[record.name].append(record)
    taken, missing = [], []
    for pin in pins:
        builds = [
            record
            for record in offered[pin.name]
            if (record.version, record.build) == (pin.version, pin.build)
        ]
        if builds:
            taken.append(_pick(pin, builds, channels))
        else:
            newest = max(offered[pin.name], key=lambda r: version_order(r.version), default=None)
            there = f"the newest there is {newest.version}" if newest else "nothing of that name"
            missing.append(f"{pin.fn} ({there})")
    if missing:
        lines = "".join(f"\n    {text}" for text in sorted(missing))
        raise UnsolvableError(subdir, f"{len(missing)} of {len(pins)} are not upstream:{lines}")
    records = tuple(sorted(taken, key=lambda record: record.path))
    solve_among(records, request)
    return records


def _pick(pin: Pin, builds: Sequence[Record], channels: Sequence[str]) -> Record:
    """The pinned archive; without a hash the one of that name in the first channel that has it."""
    ordered = sorted(builds, key=lambda r: (_place(r, channels), r.fn != pin.fn, r.fn))
    for record in sorted(ordered, key=lambda r: r.fn != pin.fn):
        if pin.sha256 in (None, record.sha256) and pin.md5 in (None, record.md5):
            return record
    raise IntegrityError(
        f"upstream's {ordered[0].fn} is not the file that the given lock pins",
        where=redact_url(ordered[0].url),
        expected=pin.sha256 or pin.md5,
        got=ordered[0].sha256,
    )


def _place(record: Record, channels: Sequence[str]) -> int:
    """The number of the channel that a record is of; those that are elsewhere come last."""
    for number, url in enumerate(channels):
        if record.url.startswith(f"{url.rstrip('/')}/"):
            return number
    return len(channels)
