"""The last failed build of each label, ``channels/.history/NAME/last-failure.json``.

It holds no secret: texts of errors are redacted where they are raised, and URLs in them once more
here. The next build that succeeds removes it.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

from repack.codec.decode import Document, decode, encode
from repack.errors import BusyError, RepackError, UsageError
from repack.fs import atomic, beneath
from repack.fs.walk import read_or_none
from repack.timestamps import stamp
from repack.urls import redact_text

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator
    from pathlib import Path

    from repack.channel.folder import Channels
    from repack.names import LabelName

_NAME: Final = "last-failure.json"
_LONGEST: Final = 240


class LastFailure(Document, frozen=True, rename={"kind": "error"}):
    """The last build of a label, when it failed; the file, and a field of the overview."""

    when: str
    kind: str
    what: str


@contextlib.contextmanager
def recording_failure(channels: Channels, label: LabelName, now: dt.datetime) -> Iterator[None]:
    """Keep the error that the block ends with, or forget the one before.

    A wrong command line is no failed build, and a second build at the same time is none either.
    """
    path = _path(channels, label)
    try:
        yield
    except (UsageError, BusyError):
        raise
    except RepackError as error:
        _keep(path, stamp(now), error)
        raise
    if path.exists():
        atomic.remove(path)


def last_failure(channels: Channels, label: LabelName) -> LastFailure | None:
    """The failure of the last build; None when it went well or is not known."""
    path = _path(channels, label)
    try:
        data = read_or_none(path)
        return decode(LastFailure, json.loads(data), path, "last failure") if data else None
    except (RepackError, ValueError):
        return None


def labels(channels: Channels) -> tuple[str, ...]:
    """The names of all folders of channels and of their history."""
    folder_names = set()
    for folder in (channels.root, channels.root / ".history"):
        if beneath.is_folder(folder):
            with atomic.os_errors_at(folder):
                folder_names |= {e.name for e in beneath.scan(folder) if e.kind == "folder"}
    return tuple(sorted(name for name in folder_names if not name.startswith(".")))


def _path(channels: Channels, label: LabelName) -> Path:
    return channels.history(label) / _NAME


def _words(error: RepackError) -> str:
    # Imported only here: a build that goes well is started with less.
    from repack.display import shown

    where = f"{error.where}: " if error.where else ""
    got = f"; {error.got}" if error.got else ""
    return shown(redact_text(f"{where}{error.what}{got}"), _LONGEST)


def _keep(path: Path, when: str, error: RepackError) -> None:
    failure = LastFailure(when, error.kind, _words(error))
    # The build's own error is what people must see, also where the disk is full.
    with contextlib.suppress(RepackError, OSError):
        beneath.make_folders(path.parent)
        atomic.write(path, json.dumps(encode(failure), ensure_ascii=False).encode() + b"\n")
