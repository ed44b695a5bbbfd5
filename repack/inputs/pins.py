"""What a lock or environment file of another tool asks for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final, Literal
from urllib.parse import unquote

from msgspec import Struct, field

from repack.errors import RepackError
from repack.names import RelPath
from repack.structs import Value
from repack.urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping

SourceKind = Literal["pixi.lock", "conda-lock", "explicit", "environment"]

_HEX: Final = re.compile(r"[0-9a-fA-F]+\Z")
# NAME-VERSION-BUILD; only the name may hold further hyphens.
_ARCHIVE: Final = re.compile(r"(\S+)-([^\s-]+)-([^\s-]+?)(?:\.conda|\.tar\.bz2)")


class Pin(Value, frozen=True):
    """One package of a lock: an archive by its name, and its hashes as far as the lock has them.

    Attributes:
        url: where the lock has it from, without secrets; nothing is fetched from there.
    """

    uncompared_fields: ClassVar = ("url",)

    name: str
    version: str
    build: str
    fn: str
    sha256: str | None = None
    md5: str | None = None
    url: str = ""

    @property
    def spec(self) -> str:
        """A MatchSpec for exactly this version and build."""
        return f"{self.name} =={self.version} {self.build}"


class WheelPin(Value, frozen=True):
    """One wheel: exactly this file. It becomes a conda package.

    Attributes:
        name: normalized (PEP 503).
        version: as the source spells it; empty where only the file says it.
        fn: the file name, which carries the tags.
        sha256: empty for a file on disk, which is hashed when it is read.
        url: where it is to be had; may hold a secret. A path on disk is a ``file:`` URL.
        is_direct: whether somebody named this very file, and no index did.
    """

    hidden_fields: ClassVar = ("url",)

    name: str
    version: str
    fn: str
    sha256: str
    url: str
    is_direct: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()


class LockedPackages(Struct, frozen=True):
    """What a ``from:`` file asks for: pins per platform, or specs to solve.

    Attributes:
        kind: the format of the file.
        specs: MatchSpecs as text, from an environment file.
        pins: the packages of each of the label's platforms, from a lock.
        platforms: all platforms that the lock has packages for.
        notes: what was not taken from the file, a line each.
        wheels: the wheels of each platform, from a lock.
        requirements: what pip was asked for, from an environment file; not locked.
    """

    kind: SourceKind
    specs: tuple[str, ...] = ()
    pins: Mapping[str, tuple[Pin, ...]] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    wheels: Mapping[str, tuple[WheelPin, ...]] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()


def wheel_pin(url: str, sha256: str, name: str = "", version: str = "") -> WheelPin:
    """The pin of the wheel at ``url``, which a lock names with its hash.

    Raises:
        ValueError: it is an sdist, a source, or a wheel without a hash; says what to do.
    """
    place, _, fragment = url.strip().partition("#")
    fn = unquote(place.split("?", 1)[0].rstrip("/").replace("\\", "/").rsplit("/", 1)[-1])
    digest = (sha256 or fragment.removeprefix("sha256=")).lower()
    what = f"{name or fn} {version}".strip()[:120]
    if not fn.endswith(".whl"):
        raise ValueError(
            f"{what}: {redact_url(place)[-120:]!r} is no wheel; make one of it (pip wheel), or a recipe"
        )
    parts = fn.split("-")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{what}: the wheel is named without its SHA-256")
    if len(parts) not in {5, 6} or "/" in fn:
        raise ValueError(f"{what}: {fn[:120]!r} is no file name of a wheel")
    return WheelPin(
        name=re.sub(r"[-_.]+", "-", name or parts[0]).lower(),
        version=version or parts[1],
        fn=fn,
        sha256=digest,
        url=place,
        is_direct=place.startswith("file:"),
    )


def pin_from_url(url: str, sha256: str | None, md5: str | None) -> Pin:
    """Make the pin of the archive at ``url``, of which only the file name counts.

    Raises:
        ValueError: it names no archive of a conda package, or a hash is malformed.
    """
    fn = unquote(url.rstrip().replace("\\", "/").rsplit("/", 1)[-1])
    match = _ARCHIVE.fullmatch(fn)
    try:
        is_plain = RelPath(fn) == fn
    except RepackError:
        is_plain = False
    if not match or not is_plain:
        raise ValueError(f"{redact_url(url)[:200]!r} is no archive of a conda package")
    for digest, length in ((sha256, 64), (md5, 32)):
        if digest and not (len(digest) == length and _HEX.match(digest)):
            raise ValueError(f"{fn}: {digest[:70]!r} is no hash of {length} hex digits")
    sha256, md5 = (digest.lower() if digest else None for digest in (sha256, md5))
    return Pin(match[1], match[2], match[3], fn, sha256, md5, redact_url(url.rstrip()))
