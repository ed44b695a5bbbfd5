"""Labels of which something on this machine is newer than their channel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from repack.channel.folder import Channels
from repack.channel.layout import MANIFEST
from repack.errors import RepackError
from repack.fs import atomic
from repack.fs.walk import sizes
from repack.label import files
from repack.names import LabelName
from repack.report.failures import last_failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from repack.settings import Settings


def changed_labels(labels: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Those that were never published or failed last, or whose file, lock or bundles are newer.

    Upstream is not asked. A label that cannot be read is one of them: its build says what is wrong.

    Raises:
        PlaceError: a folder cannot be read.
    """
    channels = Channels(settings.channels_dir)
    return tuple(label for label in labels if _is_changed(label, settings, channels))


def _is_changed(name: str, settings: Settings, channels: Channels) -> bool:
    label = LabelName(name)
    published = channels.published(label) / MANIFEST
    if not published.is_file() or last_failure(channels, label) is not None:
        return True
    history = channels.history(label)
    with atomic.os_errors_at(published):
        # The history is the last thing that a build writes.
        built = max(path.stat().st_mtime for path in (published, history) if path.exists())
        return any(path.stat().st_mtime > built for path in _inputs(name, settings))


def _inputs(name: str, settings: Settings) -> Iterator[Path]:
    """The files on this machine that a label is made of."""
    path = files.find(settings.labels_dir, name)
    yield path
    lock = path.with_suffix(".lock")
    if lock.is_file():
        yield lock
    for folder in _bundle_folders(path, settings.environment):
        yield folder
        yield from (folder / inside for inside in sizes(folder))


def _bundle_folders(path: Path, environment: Mapping[str, str]) -> Iterable[Path]:
    """The folders of a label's bundles; none where the label cannot be read: it is built anyway."""
    try:
        label = files.load(path, environment, lambda _spec: None)
    except RepackError:
        return ()
    return [Path(spec.path) for spec in label.bundles.values()]
