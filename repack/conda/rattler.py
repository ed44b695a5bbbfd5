"""Records to rattler's own and back."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from repack.conda.record import Record
from repack.conda.repodata import repodata_bytes

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from pathlib import Path

    import rattler


Answer = TypeVar("Answer")
# Fields that rattler derives from the subdir when upstream does not give them.
_DERIVED: Final = frozenset({"arch", "platform"})


def wait(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run rattler's asynchronous ``work`` to its end, also for a caller inside an event loop.

    A notebook has a loop running already; there the work gets a thread of its own.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def to_records(found: Iterable[rattler.RepoDataRecord]) -> tuple[Record, ...]:
    """Records of rattler as repack's, sorted by path.

    Raises:
        IntegrityError: a record lacks what repack identifies packages by.
    """
    taken = []
    for native in found:
        raw = json.loads(native.to_json())
        taken.append(Record.of(raw, raw["fn"], raw["url"]))
    return tuple(sorted(taken, key=lambda record: record.path))


def without_derived(record: Record) -> Record:
    """Drop what rattler adds to a record that upstream may not have given."""
    raw = {key: value for key, value in record.raw.items() if key not in _DERIVED}
    return Record.of(raw, record.fn, record.url)


def agree(raw: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Whether two views of a record name the same archive with the same dependencies."""
    exact = ("name", "version", "build", "build_number", "sha256")
    lists = ("depends", "constrains")
    return all(raw.get(key) == seen.get(key) for key in exact) and all(
        (raw.get(key) or []) == (seen.get(key) or []) for key in lists
    )


def to_rattler_records(records: Iterable[Record], folder: Path) -> list[rattler.RepoDataRecord]:
    """Records as rattler's own, loaded through a repodata file, its only way in."""
    import rattler

    groups: dict[str, dict[str, Record]] = {}
    for record in records:
        groups.setdefault(record.subdir, {})[record.fn] = record
    found: list[rattler.RepoDataRecord] = []
    for subdir, group in sorted(groups.items()):
        path = folder / f"{subdir}.json"
        path.write_bytes(repodata_bytes(subdir, group.values()))
        channel = rattler.Channel("file:///unused")
        for native in rattler.RepoData.from_path(path).into_repo_data(channel):
            record = group[native.file_name]
            native.url = record.url
            native.channel = record.url.rsplit("/", 2)[0]
            found.append(native)
    return found


def older(one: str, other: str) -> bool:
    """Whether version ``one`` comes before ``other``; False where one of them is no version."""
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    try:
        return bool(Version(one) < Version(other))
    except (InvalidVersionError, ValueError, TypeError):
        return False
