"""Whether what a channel's packages install stays under a prefix, read from the archives themselves.

Names, folders, entry points and python's place for modules stand in the descriptions, which are read
anew. Where links lead is only known from reading an archive to its end, so that is taken from
``install.json``, which the build wrote and the integrity list pins; a release without such a list is
read to the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from repack.archive.facts import check_archive
from repack.archive.installed_paths import InstalledPackage, check_installed
from repack.archive.reader import scan_archive
from repack.codec.canonical import loads
from repack.conda.record import Record
from repack.conda.repodata import read_rows
from repack.conda.subdir import NOARCH
from repack.errors import IntegrityError
from repack.fs import atomic
from repack.names import RelPath
from repack.verify.consistency import MAX_REPODATA, Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

_PLAN: Final = RelPath("repack/install.json")


def check_places(
    channel: Path, subdirs: Iterable[str], skipped: Collection[str]
) -> Iterator[Finding]:
    """Everything that would be written, or points, out of a prefix.

    Args:
        channel: its files were hashed.
        subdirs: the platforms of the channel.
        skipped: files that are known to be wrong.
    """
    if _PLAN in skipped or not (channel / _PLAN).is_file():
        return
    try:
        plan: Any = loads(atomic.read(channel / _PLAN, MAX_REPODATA), _PLAN, MAX_REPODATA)
        parts = {subdir: dict(part) for subdir, part in plan["subdirs"].items()}
        lists = {subdir: part.get("installed") for subdir, part in parts.items()}
        stated = {dist: fields for part in lists.values() for dist, fields in (part or {}).items()}
        links = {dist: dict(fields.get("links", {})) for dist, fields in stated.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        yield Finding("malformed", _PLAN, "is no list of what is installed")
        return
    is_stated = all(part is not None for part in lists.values())
    packages: dict[str, InstalledPackage] = {}
    for subdir in dict.fromkeys((NOARCH, *subdirs)):
        for record in _records(channel, subdir, skipped):
            try:
                packages[record.path] = _read(channel, record, None if not is_stated else links)
            except IntegrityError as error:
                yield Finding("malformed", record.path, error.what, error.expected, error.got)
    for subdir, part in parts.items():
        dists = {*part.get("packages", ())}
        members = [
            package
            for path, package in packages.items()
            if package.dist in dists and path.startswith((f"{subdir}/", f"{NOARCH}/"))
        ]
        try:
            check_installed(members, subdir)
        except IntegrityError as error:
            yield Finding("malformed", str(error.where), error.what, error.expected, error.got)


def _records(channel: Path, subdir: str, skipped: Collection[str]) -> Iterator[Record]:
    path = RelPath(f"{subdir}/repodata.json")
    if path in skipped or not (channel / path).is_file():
        return
    document: Any = loads(atomic.read(channel / path, MAX_REPODATA), path, MAX_REPODATA)
    for fn, raw in read_rows(document, path).items():
        if f"{subdir}/{fn}" not in skipped and (channel / subdir / fn).is_file():
            yield Record.of(raw, fn, "")


def _read(
    channel: Path, record: Record, links: Mapping[str, Mapping[str, str]] | None
) -> InstalledPackage:
    facts = scan_archive(channel / record.path, record, "whole" if links is None else "info")
    check_archive(facts, record)
    package = InstalledPackage.of(record, facts)
    return package if links is None else replace(package, links=links.get(record.dist, {}))
