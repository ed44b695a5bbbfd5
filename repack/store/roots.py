"""Roots of a store: every channel that was built with it, so that a sweep keeps what each needs.

```
roots/<SHA-256 of the path>.json    {"channel": "/srv/project/channels/bank"}
```

Several projects share one store, and nobody who sweeps it knows them all. A channel that is not
where it was is no reason to think that it is gone: its disk may not be mounted. So nothing is swept
until it is back, or somebody says that it is gone.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from repack.codec.canonical import loads
from repack.codec.decode import Document, decode, encode
from repack.errors import UsageError
from repack.fs import atomic, beneath
from repack.store.listing import list_folder

if TYPE_CHECKING:
    from repack.store.store import Store

_LIMIT: Final = 1 << 16
_HISTORY: Final = ".history"


class Root(Document, frozen=True):
    """One channel that was built with the store: the absolute path of its folder."""

    channel: str


def _note(store: Store, channel: Path) -> Path:
    name = hashlib.sha256(os.fsencode(channel)).hexdigest()
    return store.root / "roots" / f"{name}.json"


def register_channel(store: Store, channel: Path) -> None:
    """Note that ``channel`` and its history need archives of the store.

    Raises:
        SpaceError: the disk is full.
        PlaceError: the store cannot be written.
    """
    channel = channel.absolute()
    note = _note(store, channel)
    with atomic.os_errors_at(note):
        if beneath.is_file(note):
            return
        beneath.make_folders(note.parent)
    atomic.write(note, json.dumps(encode(Root(str(channel)))).encode())


def forget_channels(store: Store, gone: Path) -> int:
    """Drop the notes of the channel ``gone``, or of all channels in the folder ``gone``.

    Returns:
        How many there were.

    Raises:
        IntegrityError: a note is damaged.
        PlaceError: the store cannot be read or written.
    """
    gone = gone.absolute()
    channels = [path for path in read_roots(store) if gone in (path, path.parent)]
    for channel in channels:
        with atomic.os_errors_at(_note(store, channel)):
            atomic.unlink(_note(store, channel))
    return len(channels)


def read_roots(store: Store) -> tuple[Path, ...]:
    """The folders of all channels that were built with the store, sorted.

    Raises:
        IntegrityError: a note is damaged.
        PlaceError: the store cannot be read.
    """
    channels = []
    for note in list_folder(store.root / "roots"):
        if note.suffix == ".json" and not note.name.startswith(atomic.TEMP_PREFIX):
            document = loads(atomic.read(note, _LIMIT), note, _LIMIT)
            channels.append(Path(decode(Root, document, note, "note of a channel").channel))
    return tuple(sorted(channels))


def channels_of_roots(store: Store) -> tuple[Path, ...]:
    """The folders that hold these channels, every channel of them there.

    Raises:
        UsageError: a channel and its history are not where they were.
        IntegrityError: a note is damaged.
        PlaceError: the store or a folder cannot be read.
    """
    folders = set()
    for channel in read_roots(store):
        history = channel.parent / _HISTORY / channel.name
        if not (_is_there(channel) or _is_there(history)):
            raise UsageError(
                "a channel that was built with this store is not there; nothing was removed",
                where=channel,
                hint="bring back its disk or share; if it is gone for good, say so with "
                f"--forget {str(channel)!r}",
            )
        folders.add(channel.parent)
    return tuple(sorted(folders))


def _is_there(folder: Path) -> bool:
    # Path.exists() takes every error but a refused permission for "no".
    with atomic.os_errors_at(folder):
        try:
            folder.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True
