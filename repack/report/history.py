"""What a report says of earlier releases, of bundles' files and of upstream's corrections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from repack.archive.reader import read_paths
from repack.channel import manifest
from repack.channel.layout import MANIFEST
from repack.conda.record import Record
from repack.conda.repodata import read_rows
from repack.display import shown
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


class EarlierReleases(Struct, frozen=True):
    """What the report needs of the releases before.

    Attributes:
        release: the one to compare with; None for the first.
        records: its packages.
        releases: rows of the chart so far.
        kept: how many releases' packages were compared for names with other contents.
        settings: of the one to compare with, see :mod:`repack.report.settings`.
    """

    release: int | None = None
    records: tuple[Record, ...] = ()
    releases: tuple[PastRelease, ...] = ()
    kept: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)


def find_hotfixes(texts: Mapping[RelPath, bytes]) -> dict[str, tuple[str, ...]]:
    """Path of each package whose record differs from its archive -> the fields that differ."""
    hotfixes = {}
    for path, data in texts.items():
        folder, _, name = path.rpartition("/")
        if name == "patch_instructions.json":
            for fn, patch in read_rows(json.loads(data), path).items():
                if fields := sorted(patch.keys() - _BOOKKEEPING):
                    hotfixes[f"{folder}/{fn}"] = tuple(shown(key, 40) for key in fields)
    return hotfixes


def describe_bundles(
    label: Label, contents: ChannelContents, archives: Mapping[RelPath, Path]
) -> tuple[ReportBundle, ...]:
    """The label's bundles with their files; ``archives`` are the packages' files in the store.

    Raises:
        IntegrityError: an archive in the store is damaged.
    """
    bundle_names = {f"{label.name}-{name}": name for name in label.bundles}
    bundles = []
    for path, item in contents.items.items():
        name = bundle_names.get(item.record.name)
        if name is None:
            continue
        prefix = f"share/repack/{label.name}/{name}/"
        files = tuple(
            ReportFile(
                shown(row.get("_path", "").removeprefix(prefix), 300),
                int(row.get("size_in_bytes", 0)),
                shown(row.get("sha256")),
            )
            for row in read_paths(archives[path], item.record.fn)
        )
        size = sum(file.size for file in files)
        version = item.record.version
        bundles.append(ReportBundle(name, version, path, len(files), size, files[:_FILES]))
    return tuple(bundles)


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

    def text(path: str) -> bytes | None:
        remembered = channels.remembered(label, release, path)
        return channels.text(label, path) if remembered is None else remembered

    described = manifest.parse(text(MANIFEST) or b"", channels.history(label) / str(release))
    subdirs = {artifact.path.partition("/")[0] for artifact in described.artifacts}
    records = [record for subdir in sorted(subdirs) for record in _records(subdir, text)]
    report = text(REPORT_DATA)
    parsed = Report.parse(report, REPORT_DATA) if report else None
    rows = parsed.releases if parsed else _past(channels, label)
    settings = parsed.settings if parsed else {}
    kept = len(channels.releases(label))
    return EarlierReleases(release, tuple(records), tuple(rows), kept, settings)


def _records(subdir: str, text: Callable[[str], bytes | None]) -> Iterator[Record]:
    path = f"{subdir}/repodata.json"
    data = text(path)
    for fn, raw in read_rows(json.loads(data), path).items() if data else ():
        yield Record.of(raw, fn, "")


def _past(channels: Channels, label: LabelName) -> Iterator[PastRelease]:
    digests_before: set[str | None] = set()
    for number in channels.releases(label):
        data = channels.remembered(label, number, MANIFEST) or b""
        past = manifest.parse(data, channels.history(label) / str(number))
        yield PastRelease(
            number,
            past.generated_at or "",
            len(past.artifacts),
            sum(artifact.size for artifact in past.artifacts),
            sum(a.size for a in past.artifacts if a.sha256 not in digests_before),
        )
        digests_before = {artifact.sha256 for artifact in past.artifacts}
