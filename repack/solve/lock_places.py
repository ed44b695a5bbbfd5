"""A lock is held against the label: where its packages come from, and what they were before.

A lock is a file that anybody with write access to the labels can edit, and reviews look at the
label, not at a lock of ten thousand lines. So a package's URL is made of the label's channel and
the package's path, never taken from the lock; a URL that is not of that form is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from msgspec.structs import replace

from repack.errors import IntegrityError
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from repack.conda.record import Record
    from repack.inputs.pins import Pin

_SHOWN: Final = 5


class ChannelPlaces:
    """The places from which packages of a label may come.

    Args:
        channels: the label's channels, secrets included.
        find_mirrors: from the URL of a channel to where it is asked for.
        extra: other folders that upstream's own repodata named when the label was solved here
            (``base_url``, CEP 15), without secrets.
    """

    def __init__(
        self,
        channels: Sequence[str],
        find_mirrors: Callable[[str], tuple[str, ...]] = lambda url: (url,),
        extra: Sequence[str] = (),
    ) -> None:
        self._url_by_base: dict[str, str] = {}
        for channel in channels:
            url = channel.rstrip("/")
            for place in (url, *find_mirrors(url)):
                self._url_by_base.setdefault(_plain(place.rstrip("/")), url)
        for base in extra:
            self._url_by_base.setdefault(_plain(base), base)

    def url_of(self, record: Record) -> str | None:
        """Where the package is in the label's channel; None when it is in none of them."""
        folder, slash, name = record.url.rpartition("/")
        channel, _, subdir = folder.rpartition("/")
        base = self._url_by_base.get(_plain(channel))
        if not slash or base is None or unquote(f"{subdir}/{name}") != record.path:
            return None
        return f"{base}/{subdir}/{name}"

    def holds(self, url: str) -> bool:
        """Whether ``url`` is that of a file in a subdir of one of these channels."""
        return len(parts := url.rsplit("/", 2)) == 3 and _plain(parts[0]) in self._url_by_base

    def place(self, records: Iterable[Record], lock: object) -> tuple[Record, ...]:
        """The records of ``lock`` with the URLs, secrets included, that they have in the channels.

        Raises:
            IntegrityError: a package is in none of the label's channels.
        """
        placed, outside = [], []
        for record in records:
            url = self.url_of(record)
            if url is None:
                outside.append(redact_url(record.url))
            else:
                placed.append(replace(record, url=url))
        if outside:
            more = f" and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else ""
            raise IntegrityError(
                "the lock takes packages from outside of the label's channels",
                where=lock,
                got=", ".join(sorted(outside)[:_SHOWN]) + more,
                expected=f"URLs below {', '.join(map(redact_url, self._url_by_base.values()))}",
                hint="find out who wrote that into the lock; --update makes it anew",
            )
        return tuple(placed)


def _plain(url: str) -> str:
    """A folder's URL for comparison: without secrets, and percent-encoded in no way."""
    return unquote(redact_url(url))


def foreign_pins(
    pins_by_subdir: Mapping[str, Sequence[Pin]], places: ChannelPlaces
) -> tuple[Pin, ...]:
    """The pins of a ``from:`` lock whose URLs are in none of the label's channels."""
    pins = {pin.url: pin for group in pins_by_subdir.values() for pin in group if pin.url}
    return tuple(pin for url, pin in sorted(pins.items()) if not places.holds(url))


def replaced_packages(before: Iterable[Record], after: Iterable[Record]) -> tuple[str, ...]:
    """Packages that have other content under the same file name now, a line each."""
    digest_by_path = {record.path: record.sha256 for record in before}
    return tuple(
        f"{record.path}: the same version with other content;"
        f" SHA-256 was {digest_by_path[record.path]}, is {record.sha256}"
        for record in sorted(after, key=lambda record: record.path)
        if digest_by_path.get(record.path, record.sha256) != record.sha256
    )
