"""The tokens that conda hides when it prints a channel's URL, and where they can be had again.

conda writes ``/t/<TOKEN>/`` into ``conda info --json``, or leaves the token out, and keeps the real
one in its configuration only (``conda/common/url.py``: ``split_anaconda_token``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from msgspec import field

from repack.fs import atomic
from repack.structs import Value
from repack.upstream.configuration import condarc_paths, expand_variables, read_condarc
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_LIMIT: Final = 4 << 20
_HIDDEN: Final = re.compile(r"/t/(<TOKEN>|%3CTOKEN%3E|\*+)(?=/|\Z)|//\*+(:\*+)?@", re.IGNORECASE)


class ChannelTokens(Value, frozen=True):
    """Channel URLs with their secrets.

    Attributes:
        url_by_place: the URL with its secret, by the same without it.
    """

    hidden_fields: ClassVar = ("url_by_place",)

    url_by_place: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_urls(cls, urls: Iterable[str]) -> Self:
        """Those of ``urls`` that have a secret; of two for one place the first counts."""
        url_by_place: dict[str, str] = {}
        for url in urls:
            full = url.rstrip("/")
            place = redact_url(full)
            if place != full and not is_hidden(full):
                url_by_place.setdefault(place, full)
        return cls(url_by_place)

    def restore(self, url: str) -> str:
        """``url``, a channel's or a package's, with the secret of the longest URL above it."""
        plain = redact_url(url)
        for place in sorted(self.url_by_place, key=len, reverse=True):
            if plain == place or plain.startswith(place + "/"):
                return self.url_by_place[place] + plain[len(place) :]
        return plain


def is_hidden(url: str) -> bool:
    """Whether a client put something else in the place of the URL's token or user."""
    return _HIDDEN.search(url) is not None


def configured_urls(
    more: Iterable[Path], environ: Mapping[str, str], home: Path
) -> tuple[str, ...]:
    """Every URL in conda's configuration, of this user and in the files ``more``.

    Raises:
        UsageError: a file is no YAML.
        PlaceError: a file cannot be read.
    """
    paths = dict.fromkeys([*more, *condarc_paths(environ, home)])
    urls: list[str] = []
    for path in paths:
        if path.is_file() and b"://" in (text := atomic.read(path, _LIMIT)):
            urls += _urls(expand_variables(read_condarc(path, text), environ))
    return tuple(urls)


def _urls(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _urls(inner)
    elif isinstance(value, str) and "://" in value:
        yield value
