"""What a foreign lock or environment file asks for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote

from msgspec import Struct, field

from repack.conda.record import ARCHIVE_SUFFIXES
from repack.errors import RepackError
from repack.names import RelPath
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping

SourceKind = Literal["pixi.lock", "conda-lock", "explicit", "environment"]

_HEX: Final = re.compile(r"[0-9a-fA-F]+\Z")


class Pin(Struct, frozen=True):
    """One package of a lock: exactly this archive."""

    name: str
    version: str
    build: str
    fn: str
    sha256: str | None = None
    md5: str | None = None

    @property
    def spec(self) -> str:
        """The MatchSpec that only this version and build fulfil."""
        return f"{self.name} =={self.version} {self.build}"


class LockedPackages(Struct, frozen=True):
    """What a ``from:`` file asks for: pins per platform, or specs to solve.

    Attributes:
        kind: what the file turned out to be.
        specs: MatchSpecs as text, from an environment file.
        pins: the packages of each of the label's platforms, from a lock.
        platforms: all platforms that the lock has something for.
        notes: what of the file was left out, a line each.
    """

    kind: SourceKind
    specs: tuple[str, ...] = ()
    pins: Mapping[str, tuple[Pin, ...]] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def pin_from_url(url: str, sha256: str | None, md5: str | None) -> Pin:
    """The pin of the archive at ``url``, of which only the file name counts.

    Raises:
        ValueError: it is no archive of a conda package, or a hash is none; says which.
    """
    fn = unquote(url.rstrip().replace("\\", "/").rsplit("/", 1)[-1])
    dist = fn
    for suffix in ARCHIVE_SUFFIXES:
        dist = dist.removesuffix(suffix)
    parts = dist.rsplit("-", 2)
    try:
        plain = RelPath(fn) == fn and not any(char.isspace() for char in fn)
    except RepackError:
        plain = False
    if not plain or dist == fn or len(parts) != 3 or not all(parts):
        raise ValueError(f"{redact_url(url)[:200]!r} is no archive of a conda package")
    for digest, length in ((sha256, 64), (md5, 32)):
        if digest and not (len(digest) == length and _HEX.match(digest)):
            raise ValueError(f"{fn}: {digest[:70]!r} is no hash of {length} hex digits")
    name, version, build = parts
    return Pin(
        name, version, build, fn, (sha256 or "").lower() or None, (md5 or "").lower() or None
    )
