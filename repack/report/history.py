"""Gather: what a report needs beyond what the build has in hand: the past, and lists of files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from repack.archive.reader import read_paths
from repack.channel import manifest
from repack.channel.layout import MANIFEST
from repack.conda.record import Record
from repack.conda.repodata import read_rows
from repack.display import shown
from repack.report.compose import EarlierReleases
from repack.report.document import REPORT_DATA, PastRelease, Report, ReportBundle, ReportFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from repack.channel.contents import ChannelContents
    from repack.channel.folder import Channels
    from repack.label.label import Label
    from repack.names import LabelName, RelPath

_FILES: Final = 1000  # of a bundle, in the report

# What an indexer adds to every record; nobody fixed anything.
_BOOKKEEPING: Final = frozenset({"arch", "indexed_timestamp", "platform", "subdir"})


def hotfixes(texts: Mapping[RelPath, bytes]) -> dict[str, tuple[str, ...]]:
    """Path -> fields that upstream corrected: its record differs there from the archive."""
    found = {}
    for path, data in texts.items():
        folder, _, name = path.rpartition("/")
        if name == "patch_instructions.json":
            for fn, patch in read_rows(json.loads(data), path).items():
                if fixed := sorted(patch.keys() - _BOOKKEEPING):
                    found[f"{folder}/{fn}"] = tuple(shown(key, 40) for key in fixed)
    return found


def bundles(
    label: Label, shipment: ChannelContents, store: Mapping[str, Path]
) -> tuple[ReportBundle, ...]:
    """The label's bundles with their files; ``store`` says where an archive is, by SHA-256.

    Raises:
        IntegrityError: an archive in the store is damaged.
    """
    packages = {f"{label.name}-{name}": name for name in label.bundles}
    found = []
    for path, item in shipment.items.items():
        name = packages.get(item.record.name)
        if name is not None:
            rows = read_paths(store[path], item.record.fn)
            prefix = f"share/repack/{label.name}/{name}/"
            files = [
                ReportFile(
                    shown(row.get("_path", "").removeprefix(prefix), 300),
                    int(row.get("size_in_bytes", 0)),
                    shown(row.get("sha256")),
                )
                for row in rows
            ]
            size = sum(one.size for one in files)
            found.append(
                ReportBundle(
                    name, item.record.version, path, len(files), size, tuple(files[:_FILES])
                )
            )
    return tuple(found)


def earlier_releases(channels: Channels, label: LabelName, release: int | None) -> EarlierReleases:
    """What was published so far.

    Args:
        channels: the channels' folder.
        label: the label.
        release: the one to compare with; None when there is none.

    Raises:
        IntegrityError: a past release's metadata is damaged.
    """
    if release is None:
        return EarlierReleases()
    kept = channels.releases(label)

    def text(path: str) -> bytes | None:
        remembered = channels.remembered(label, release, path)
        return channels.text(label, path) if remembered is None else remembered

    described = manifest.parse(text(MANIFEST) or b"", channels.history(label) / str(release))
    subdirs = {artifact.path.partition("/")[0] for artifact in described.artifacts}
    records = [record for subdir in sorted(subdirs) for record in _records(subdir, text)]
    told = text(REPORT_DATA)
    rows = Report.parse(told, REPORT_DATA).releases if told else tuple(_past(channels, label))
    return EarlierReleases(release, tuple(records), rows, len(kept))


def _records(subdir: str, text: Callable[[str], bytes | None]) -> Iterator[Record]:
    path = f"{subdir}/repodata.json"
    data = text(path)
    for fn, raw in read_rows(json.loads(data), path).items() if data else ():
        yield Record.of(raw, fn, "")


def _past(channels: Channels, label: LabelName) -> Iterator[PastRelease]:
    known: set[str | None] = set()
    for number in channels.releases(label):
        data = channels.remembered(label, number, MANIFEST) or b""
        one = manifest.parse(data, channels.history(label) / str(number))
        yield PastRelease(
            number,
            one.generated_at or "",
            len(one.artifacts),
            sum(artifact.size for artifact in one.artifacts),
            sum(artifact.size for artifact in one.artifacts if artifact.sha256 not in known),
        )
        known = {artifact.sha256 for artifact in one.artifacts}
