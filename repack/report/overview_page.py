"""Overview: the state of all labels, for the screen and as ``channels/index.html``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from repack.channel import manifest
from repack.channel.folder import read_or_none
from repack.channel.integrity import METADATA_DIR
from repack.channel.layout import MANIFEST, NOARCH
from repack.channel.metadata_folder import read_folder
from repack.errors import RepackError
from repack.fs import atomic
from repack.label import files as labels
from repack.names import LabelName
from repack.report import failures
from repack.report.document import REPORT_PAGE
from repack.report.html import render
from repack.report.overview import State, signed_by

if TYPE_CHECKING:
    from pathlib import Path

    from repack.channel.folder import Channels
    from repack.channel.manifest import Manifest

_LOCK: Final = "repack/lock.yml"


def overview(channels: Channels, labels_dir: Path | None = None) -> tuple[State, ...]:
    """The state of every label that has a file in ``labels_dir`` or a channel.

    Raises:
        PlaceError: a folder cannot be read.
    """
    names: set[str] = set(failures.labels(channels))
    if labels_dir is not None and labels_dir.is_dir():
        names |= set(labels.names(labels_dir))
    return tuple(_state(channels, name) for name in sorted(names))


def write_page(channels: Channels) -> None:
    """Write ``channels/index.html``, unless it says the same already.

    Raises:
        SpaceError: the disk is full.
    """
    states = [(state, _has_page(channels, state)) for state in overview(channels)]
    page = render("labels.html.j2", None, states=states)
    path = channels.root / REPORT_PAGE
    if read_or_none(path) != page:
        atomic.write(path, page)


def _has_page(channels: Channels, state: State) -> bool:
    return state.release is not None and (channels.root / state.label / REPORT_PAGE).is_file()


def _state(channels: Channels, name: str) -> State:
    try:
        label = LabelName(name)
        failure = failures.recall(channels, label)
        data = channels.text(label, MANIFEST)
        if data is None:
            return State(name, failure=failure)
        found = manifest.parse(data, MANIFEST)
        folder = channels.published(label) / METADATA_DIR
        platforms = (found.platform,) if isinstance(found.platform, str) else found.platform
        return State(
            label=name,
            release=found.release,
            date=found.generated_at,
            bytes=sum(artifact.size for artifact in found.artifacts),
            packages=len(found.artifacts),
            platforms=tuple(one for one in platforms if one != NOARCH),
            signed=signed_by(read_folder(folder), found),
            hmac=found.signature is not None,
            lock_since=_lock_since(channels, label, found),
            failure=failure,
        )
    except RepackError as error:
        return State(name, problem=error.what)


def _lock_since(channels: Channels, label: LabelName, found: Manifest) -> str | None:
    """When the first of the kept releases was made that has the lock of the published one."""
    lock, since = channels.text(label, _LOCK), found.generated_at
    for number in reversed(channels.releases(label)):
        if number >= found.release:
            continue
        if channels.remembered(label, number, _LOCK) != lock:
            break
        data = channels.remembered(label, number, MANIFEST)
        since = manifest.parse(data, MANIFEST).generated_at if data else since
    return since
