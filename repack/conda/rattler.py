"""Records and virtual packages to rattler's own types and back, for rattler 0.26 to 0.28."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from repack.conda.record import Record
from repack.conda.repodata import repodata_bytes

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from pathlib import Path

    import rattler

    from repack.conda.virtual_packages import VirtualPackage


Result = TypeVar("Result")
# Fields that rattler derives from the subdir when upstream does not give them.
_DERIVED: Final = frozenset({"arch", "platform"})


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine of rattler to its end and return its result.

    Also inside a running event loop, as in a notebook: there it runs in a thread of its own.
    """
    # An unchanged rebuild asks nothing of the solver, and is spared these imports.
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def to_records(natives: Iterable[rattler.RepoDataRecord]) -> tuple[Record, ...]:
    """Convert rattler's records to repack's, sorted by path.

    Raises:
        IntegrityError: a record lacks what repack identifies packages by.
    """
    rows = (json.loads(native.to_json()) for native in natives)
    records = (Record.of(raw, raw["fn"], raw["url"]) for raw in rows)
    return tuple(sorted(records, key=lambda record: record.path))


def without_derived(record: Record) -> Record:
    """Copy a record without the fields that rattler adds where upstream has none."""
    raw = {key: value for key, value in record.raw.items() if key not in _DERIVED}
    return Record.of(raw, record.fn, record.url)


def is_same_package(raw: Mapping[str, Any], native: Mapping[str, Any]) -> bool:
    """Whether upstream's record and rattler's name the same archive with the same dependencies."""
    exact = ("name", "version", "build", "build_number", "sha256")
    lists = ("depends", "constrains")
    return all(raw.get(key) == native.get(key) for key in exact) and all(
        (raw.get(key) or []) == (native.get(key) or []) for key in lists
    )


def to_rattler_records(records: Iterable[Record], folder: Path) -> list[rattler.RepoDataRecord]:
    """Convert records to rattler's, grouped by subdir.

    rattler makes records from repodata files alone, so one per subdir is written to ``folder``.
    """
    import rattler

    groups: dict[str, dict[str, Record]] = {}
    for record in records:
        groups.setdefault(record.subdir, {})[record.fn] = record
    natives: list[rattler.RepoDataRecord] = []
    for subdir, group in sorted(groups.items()):
        path = folder / f"{subdir}.json"
        path.write_bytes(repodata_bytes(subdir, group.values()))
        channel = rattler.Channel("file:///unused")
        for native in rattler.RepoData.from_path(path).into_repo_data(channel):
            record = group[native.file_name]
            native.url = record.url
            native.channel = record.url.rsplit("/", 2)[0]
            natives.append(native)
    return natives


def to_rattler_virtual_packages(
    packages: Iterable[VirtualPackage],
) -> list[rattler.GenericVirtualPackage]:
    """Convert virtual packages to rattler's."""
    import rattler

    # Before 0.28 rattler takes the build as str and has no type for it.
    build_type: Any = getattr(rattler, "BuildString", str)
    return [
        rattler.GenericVirtualPackage(
            rattler.PackageName(package.name),
            rattler.Version(package.version),
            build_type(package.build),
        )
        for package in packages
    ]


def detect_virtual_packages() -> dict[str, str]:
    """What this machine has: name to version, for ``__archspec`` to the microarchitecture.

    Empty where py-rattler does not run.
    """
    try:
        from rattler import VirtualPackage
    except ImportError:
        return {}
    found = (virtual.into_generic() for virtual in VirtualPackage.detect())
    return {
        one.name.normalized: str(
            one.build_string if one.name.normalized == "__archspec" else one.version
        )
        for one in found
    }


def is_older(first: str, second: str) -> bool:
    """Whether version ``first`` comes before ``second``; False where either is no version."""
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    try:
        return bool(Version(first) < Version(second))
    except (InvalidVersionError, ValueError, TypeError):
        return False


def version_order(version: str) -> Any:
    """What orders versions as conda does.

    Raises:
        ValueError: it is no version.
    """
    from rattler import Version
    from rattler.exceptions import InvalidVersionError

    try:
        return Version(version)
    except InvalidVersionError as error:
        raise ValueError(str(error)) from None
