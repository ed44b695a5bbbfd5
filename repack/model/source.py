"""``from:`` in a label: a lock or environment file that says which packages, instead of a solve.

A lock counts by file name and hash alone; which host its URLs name doesn't matter, the packages
come from the label's channels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote

from repack.errors import RepackError
from repack.model.document import Findings, Table, decode, parse
from repack.model.names import RelPath
from repack.model.record import ARCHIVE_SUFFIXES
from repack.model.urls import scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SourceKind = Literal["pixi.lock", "conda-lock", "explicit", "environment"]

MAX_SOURCE: Final = 32 << 20
_HEX: Final = re.compile(r"[0-9a-fA-F]+\Z")
_EXPLICIT: Final = re.compile(rb"^\s*@EXPLICIT\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """What a label says of its ``from:`` file.

    Attributes:
        paths: absolute; several when a list per platform makes up the whole.
        environment: which environment of a pixi.lock.
        categories: which categories of a conda-lock.yml.
        line: where the label says so, for messages.
    """

    paths: tuple[str, ...]
    environment: str = "default"
    categories: tuple[str, ...] = ("main",)
    line: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Pin:
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


@dataclass(frozen=True, slots=True)
class Wanted:
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


def parse_source(
    data: bytes,
    where: str,
    source: Source,
    platforms: tuple[str, ...],
    check_spec: Callable[[str], str | None],
) -> Wanted:
    """Read a lock or environment file of any kind repack knows.

    Args:
        data: the file.
        where: its name, for messages.
        source: what the label says of it.
        platforms: the label's platforms; the rest of a lock is not looked at.
        check_spec: says why a text is no MatchSpec, or None when it is one.

    Raises:
        LabelError: it is none of these files, or holds what conda has no package for; all of it
            at once.
    """
    # Each format is imported when it is met: a label has one of them at most.
    findings = Findings(where)
    if _EXPLICIT.search(data[:MAX_SOURCE]):
        from repack.model.explicit import read_explicit

        wanted = read_explicit(decode(data, findings, MAX_SOURCE), findings, platforms)
        findings.end()
        return wanted
    tree = parse(data, where, MAX_SOURCE)
    table = tree if isinstance(tree, Table) else Table(1, ())
    if table.get("environments") is not None:
        from repack.model.pixilock import read_pixi_lock

        wanted = read_pixi_lock(table, findings, source.environment, platforms)
    elif table.get("package") is not None:
        from repack.model.condalock import read_conda_lock

        wanted = read_conda_lock(table, findings, source.categories, platforms)
    elif table.get("dependencies") is not None:
        from repack.model.environment import read_environment

        wanted = read_environment(table, findings, check_spec)
    else:
        findings.add(
            1,
            "neither pixi.lock, conda-lock.yml, explicit list nor environment.yml",
            "an explicit list has a line '@EXPLICIT'; `conda list --explicit --sha256` writes one",
        )
        raise findings.error()
    findings.end()
    return wanted


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
        raise ValueError(f"{scrub(url)[:200]!r} is no archive of a conda package")
    for digest, length in ((sha256, 64), (md5, 32)):
        if digest and not (len(digest) == length and _HEX.match(digest)):
            raise ValueError(f"{fn}: {digest[:70]!r} is no hash of {length} hex digits")
    name, version, build = parts
    return Pin(
        name, version, build, fn, (sha256 or "").lower() or None, (md5 or "").lower() or None
    )


def join(parts: Sequence[Wanted], where: str, platforms: tuple[str, ...]) -> Wanted:
    """What several files ask for together.

    Raises:
        LabelError: they are of different kinds, say different things of one platform, or lack one
            of the label's ``platforms``.
    """
    findings = Findings(where)
    kind = parts[0].kind
    has = sorted({platform for part in parts for platform in part.platforms})
    pins: dict[str, tuple[Pin, ...]] = {}
    for part in parts:
        if part.kind != kind:
            findings.add(1, f"{kind} and {part.kind} cannot be mixed")
        for platform, found in part.pins.items():
            if platform in pins:
                findings.add(1, f"two of the files are for {platform}")
            pins[platform] = found
    for platform in platforms if kind != "environment" else ():
        if platform not in pins:
            findings.add(1, f"nothing is locked for {platform}", f"for: {', '.join(has) or 'none'}")
    findings.end()
    return Wanted(
        kind,
        specs=tuple(dict.fromkeys(spec for part in parts for spec in part.specs)),
        pins=pins,
        platforms=tuple(has),
        notes=tuple(note for part in parts for note in part.notes),
    )
